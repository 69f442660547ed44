"""Ways to combine rewards: by hand, by invariance, by what is really followed, and on problems with known solutions."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo_lightning.advantages import AdvantageConfig, group_advantages
from grpo_lightning.combine import CombineConfig, Combined, State, combine, restored, saved, start_state
from grpo_lightning.filters import FilterConfig
from grpo_lightning.mismatch import MismatchConfig
from grpo_lightning.objective import ObjectiveConfig
from grpo_lightning.pareto import hypervolume, non_dominated
from grpo_lightning.parts import Part, Schedule
from grpo_lightning.preparation import Recipe
from grpo_lightning.scoring import RewardSpec, Scorer
from grpo_lightning.ways import conflict, followed, passing, shares, shut
from tests.fakes import always

NAN = math.nan
EXACT = AdvantageConfig(eps=0.0)
TWO = {"a": Part(), "b": Part(weight=0.5)}


def run(
    rewards: object,
    parts: dict[str, Part] | None = None,
    way: str = "sum",
    advantage: AdvantageConfig = EXACT,
    state: State | None = None,
    kept: object = None,
    lengths: object = None,
    **settings: object,
) -> Combined:
    rewards = np.array(rewards, dtype=float)
    parts = {name: Part() for name in "abcdef"[: rewards.shape[2]]} if parts is None else parts
    lengths = np.ones(rewards.shape[:2], dtype=int) if lengths is None else np.array(lengths)
    kept = np.ones(lengths.shape, dtype=bool) if kept is None else np.array(kept, dtype=bool)
    config = CombineConfig(way=way, **settings)
    return combine(rewards, kept, lengths, parts, config, advantage, state or start_state(parts))


WAYS = ["sum", "mo_grpo", "gdpo", "gd2po", "ctwa", "saw", "tchebycheff", "hypervolume"]
"""Those that need nothing but weights."""

EVERY = [*WAYS, "lexicographic", "constrained"]
CENTRES = ["group", "leave_one_out", "length", "batch", "runner_up"]
SCALES = ["group", "batch", "whiten"]


def three(way: str, first: float = 1.0) -> dict[str, Part]:
    """Parts of odd weights for three rewards, so that no two cancel exactly, in the roles that the way asks for."""
    if way == "lexicographic":
        return {"a": Part(weight=first), "b": Part(weight=0.371), "c": Part(weight=0.613, tier=1)}
    if way == "constrained":
        bounded = Part(role="constraint", at_most=0.4, weight=0.613)
        return {"a": Part(weight=first), "b": Part(weight=0.371), "c": bounded}
    return {"a": Part(weight=first), "b": Part(weight=0.371), "c": Part(weight=0.613)}


# --------------------------------------------------------------------------------------------------- what is followed


def sampled(groups: int, size: int = 8, seed: int = 0) -> np.ndarray:
    """Correctness with 5 %, format with 50 %, independent."""
    generator = np.random.default_rng(seed)
    return np.stack([generator.random((groups, size)) < 0.05, generator.random((groups, size)) < 0.5], axis=2) * 1.0


@pytest.mark.parametrize(
    ("way", "scale", "gate", "correct", "form", "silent"),
    [
        ("sum", "group", False, 0.52, 0.69, 0.01),
        ("sum", "none", False, 0.85, 0.39, 0.01),
        ("gdpo", "group", False, 0.88, 0.30, 0.01),
        ("sum", "group", True, 0.93, 0.00, 0.66),
    ],
)
def test_what_each_way_really_follows(
    way: str, scale: str, gate: bool, correct: float, form: float, silent: float
) -> None:
    """Weights 1 : 0.2. The sum, then normalised, follows the format more than correctness; the others do not.

    With a gate all groups without a right answer are silent: 0.95^8 = 0.66.
    """
    rewards = sampled(20_000)
    parts = {"correct": Part(), "format": Part(weight=0.2, gate={"correct": 1.0} if gate else {})}
    advantage = AdvantageConfig(scale=scale, eps=1e-4)
    found = run(rewards, parts, way, advantage).advantages
    assert followed(rewards[:, :, 0], found) == pytest.approx(correct, abs=0.02)
    assert followed(rewards[:, :, 1], found) == pytest.approx(form, abs=0.02)
    assert (found == 0).all(axis=1).mean() == pytest.approx(silent, abs=0.01)


def test_declared_weights_are_respected_by_all_but_the_sum() -> None:
    """Of two independent rewards of weights 1 and 0.2 the share of the second in the advantages is below a third; the
    sum's advantages follow it more than the first."""
    rewards = sampled(5_000)
    parts = {"correct": Part(), "format": Part(weight=0.2)}
    for way in ("mo_grpo", "gdpo", "tchebycheff"):
        found = run(rewards, parts, way).advantages
        assert followed(rewards[:, :, 0], found) > followed(rewards[:, :, 1], found), way
    total = run(rewards, parts, "sum").advantages
    assert followed(rewards[:, :, 1], total) > followed(rewards[:, :, 0], total)


# -------------------------------------------------------------------------------------------------------- invariances


many = st.integers(2, 5).flatmap(
    lambda size: st.lists(
        st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0, NAN])] * 3), min_size=size, max_size=size),
        min_size=1,
        max_size=4,
    )
)


some = {"centre": st.sampled_from(CENTRES), "scale": st.sampled_from(SCALES)}


@pytest.mark.parametrize("way", EVERY)
@settings(max_examples=30, deadline=None)
@given(many, st.randoms(use_true_random=False), some["centre"], some["scale"])
def test_permuting_completions_permutes_advantages(
    way: str, rewards: list, dice: object, centre: str, scale: str
) -> None:
    array, advantage = np.array(rewards), AdvantageConfig(eps=0.0, centre=centre, scale=scale)
    order = list(range(array.shape[1]))
    dice.shuffle(order)
    lengths = np.array([[dice.randint(1, 9) for _ in order] for _ in array])
    plain = run(array, three(way), way, advantage, lengths=lengths)
    mixed = run(array[:, order], three(way), way, advantage, lengths=lengths[:, order])
    assert np.allclose(mixed.advantages, plain.advantages[:, order], atol=1e-9)
    assert np.allclose(mixed.contributions, plain.contributions[:, order], atol=1e-9)


@pytest.mark.parametrize("way", ["mo_grpo", "gdpo", "gd2po", "lexicographic"])
@settings(max_examples=30, deadline=None)
@given(many, st.floats(0.5, 20), st.floats(-5, 5), some["centre"], some["scale"])
def test_affine_changes_of_a_reward_change_nothing(
    way: str, rewards: list, factor: float, shift: float, centre: str, scale: str
) -> None:
    array, advantage = np.array(rewards), AdvantageConfig(eps=0.0, centre=centre, scale=scale)
    changed = array * np.array([1.0, factor, 1.0]) + np.array([0.0, shift, 0.0])
    found, plain = run(changed, three(way), way, advantage), run(array, three(way), way, advantage)
    assert np.allclose(found.advantages, plain.advantages, atol=1e-6)


@pytest.mark.parametrize("way", [way for way in EVERY if way not in ("saw", "constrained")])
@settings(max_examples=30, deadline=None)
@given(many, st.floats(-5, 5), some["centre"], some["scale"])
def test_adding_a_constant_changes_nothing(way: str, rewards: list, shift: float, centre: str, scale: str) -> None:
    """But for saw, whose coefficient of variation knows where zero is, and for bounds, which are on means."""
    array, advantage = np.array(rewards), AdvantageConfig(eps=0.0, centre=centre, scale=scale)
    found, plain = run(array + shift, three(way), way, advantage), run(array, three(way), way, advantage)
    assert np.allclose(found.advantages, plain.advantages, atol=1e-6)


@pytest.mark.parametrize("way", [way for way in EVERY if way not in ("hypervolume", "lexicographic")])
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, NAN]), min_size=4, max_size=4), min_size=1, max_size=4),
    st.sampled_from([*CENTRES, "none"]),
    st.sampled_from([*SCALES, "mean", "none"]),
)
def test_one_reward_is_plain_grpo(way: str, rewards: list, centre: str, scale: str) -> None:
    """Bit for bit, beside a metric that is shown, or a constraint whose bound is held."""
    array, advantage = np.array(rewards), AdvantageConfig(eps=0.0, centre=centre, scale=scale)
    plain = group_advantages(array, np.ones(array.shape, dtype=int), advantage)
    other = Part(role="constraint", at_most=9.0, weight=0.0) if way == "constrained" else Part(weight=0.0)
    both = np.stack([array, np.arange(array.size).reshape(array.shape) % 3], axis=2)
    found = run(both, {"a": Part(), "b": other}, way, advantage)
    assert np.array_equal(found.advantages, plain)
    assert np.array_equal(found.contributions.sum(axis=2), plain)


@pytest.mark.parametrize("way", EVERY)
@settings(max_examples=30, deadline=None)
@given(many, st.sampled_from([*CENTRES[:-1], "none"]), some["scale"])
def test_contributions_add_up_to_the_advantages(way: str, rewards: list, centre: str, scale: str) -> None:
    """Of completions to which every reward applies; whitening takes off a mean, which is nobody's contribution."""
    array, advantage = np.array(rewards), AdvantageConfig(eps=0.0, centre=centre, scale=scale)
    found = run(array, three(way), way, advantage)
    everywhere = ~np.isnan(array).any(axis=2)
    rest = (found.advantages - found.contributions.sum(axis=2))[everywhere]
    if way in ("gdpo", "gd2po"):
        rest = rest[found.advantages[everywhere] != 0]
    assert np.allclose(rest, rest[0] if way in ("gdpo", "gd2po") and len(rest) else 0.0, atol=1e-9)


@pytest.mark.parametrize("way", EVERY)
@settings(max_examples=30, deadline=None)
@given(many, some["centre"], some["scale"])
def test_a_completion_left_out_is_as_if_it_were_not_there(way: str, rewards: list, centre: str, scale: str) -> None:
    """It gets nothing, and the others what they would get without it. What is said of the policy still counts it."""
    array, advantage = np.array(rewards), AdvantageConfig(eps=0.0, centre=centre, scale=scale)
    array = np.concatenate([array[:, :1], array], axis=1)  # a twin: bounds, bests and coefficients hardly move
    kept = np.ones(array.shape[:2])
    kept[:, 0] = 0
    found = run(array, three(way), way, advantage, kept=kept)
    assert (found.advantages[:, 0] == 0).all()
    if way not in ("constrained", "saw", "hypervolume"):
        assert np.allclose(found.advantages[:, 1:], run(array[:, 1:], three(way), way, advantage).advantages, atol=1e-9)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("way", EVERY)
def test_the_sign_of_a_weight_is_the_sign_of_what_is_followed(way: str, sign: float) -> None:
    rewards = np.random.default_rng(1).random((200, 6, 3))
    if way in ("tchebycheff", "hypervolume") and sign < 0:
        pytest.skip("refused")
    assert sign * followed(rewards[:, :, 0], run(rewards, three(way, sign), way).advantages) > 0.5


@pytest.mark.parametrize("way", EVERY)
@pytest.mark.parametrize("scale", [*SCALES, "none"])
def test_what_applies_to_nothing_gets_nothing(way: str, scale: str) -> None:
    """A completion, a group, a reward, and a whole batch; neither a warning nor a NaN comes of it."""
    rewards = np.random.default_rng(2).random((4, 3, 3))
    rewards[0, 2], rewards[1], rewards[:, :, 1] = NAN, NAN, NAN
    found = run(rewards, three(way), way, AdvantageConfig(eps=0.0, scale=scale))
    assert found.advantages[0, 2] == 0
    assert (found.advantages[1] == 0).all()
    assert np.isfinite(found.advantages).all()
    nothing = run(np.full((2, 2, 3), NAN), three(way), way, AdvantageConfig(scale=scale))
    assert (nothing.advantages == 0).all()
    assert nothing.state.rollouts == 1


def test_mixed_batches_are_routed_to_their_own_rewards() -> None:
    """Math in group 0 and code in group 1, each scored by its own reward, come out as if each had its batch alone, from
    every centre; the mean of the batch, too, is that of what applies. The third reward applies to all.

    Batch centre of a: (1 + 0) / 2; of b: (0.2 + 0.4) / 2; of c, 0.5.
    """
    rewards = np.array([[[1, NAN, 1], [0, NAN, 0]], [[NAN, 0.2, 1], [NAN, 0.4, 0]]], dtype=float)
    plain = AdvantageConfig(scale="none", centre="batch")
    found = run(rewards, None, "sum", plain).advantages
    assert found.ravel().tolist() == pytest.approx([0.5 + 0.5, -0.5 - 0.5, -0.1 + 0.5, 0.1 - 0.5])
    for way in ("sum", "mo_grpo", "lexicographic"):
        parts = {"a": Part(), "b": Part(), "c": Part(weight=0.1, tier=int(way == "lexicographic"))}
        whole = run(rewards, parts, way).advantages
        math_only = run(rewards[:1][:, :, [0, 2]], {"a": parts["a"], "c": parts["c"]}, way).advantages
        assert np.allclose(whole[0], math_only[0]), way


@pytest.mark.parametrize("way", EVERY)
def test_a_reward_that_applies_to_one_completion_says_nothing(way: str) -> None:
    """There is nothing to compare it with."""
    rewards = np.array([[[1, 0.5, 0.2], [0, NAN, 0.6], [0.5, NAN, 0.1]]], dtype=float)
    without = rewards.copy()
    without[:, :, 1] = NAN
    assert np.allclose(run(rewards, three(way), way).advantages, run(without, three(way), way).advantages, atol=1e-12)


@pytest.mark.parametrize("way", EVERY)
def test_infinite_rewards_are_refused(way: str) -> None:
    with pytest.raises(ValueError, match=r"rewards\.a: an infinity reached the advantages"):
        run([[[math.inf, 0, 0], [0, 1, 0]]], three(way), way)


def test_rewards_that_cancel_say_nothing() -> None:
    """b = 1 - a: z_a + z_b is rounding, about 1e-16; whitened, or handed to the first tier, it would be a signal."""
    a = np.random.default_rng(0).random((6, 5))
    opposed = np.stack([a, 1 - a], axis=2)
    for way in ("gdpo", "gd2po", "mo_grpo", "sum"):
        assert np.abs(run(opposed, None, way).advantages).max() < 1e-12, way
    c = np.random.default_rng(1).random((6, 5))
    parts = {"a": Part(), "b": Part(), "c": Part(tier=1)}
    found = run(np.stack([a, 1 - a, c], axis=2), parts, "lexicographic").advantages
    assert np.allclose(found, group_advantages(c, np.ones(c.shape, dtype=int), EXACT))


@pytest.mark.parametrize("way", EVERY)
def test_weights_that_start_at_zero_are_no_trouble(way: str) -> None:
    """Not for what divides by them, nor for fronts, whose objectives are those that are ever trained on."""
    rising = Part(weight=Schedule(start=0.0, end=1.0, rollouts=2))
    other = replace(rising, tier=int(way == "lexicographic"))
    parts = {"a": rising, "b": other}
    if way == "constrained":
        parts["c"] = Part(role="constraint", at_most=9.0, weight=0.0)
    state, rewards = start_state(parts), np.random.default_rng(0).random((3, 4, len(parts)))
    for rollout in range(4):
        found = run(rewards, parts, way, state=state)
        state = found.state
        assert np.isfinite(found.advantages).all()
        assert (found.advantages != 0).any() == (rollout > 0)


# ------------------------------------------------------------------------------------------------------------- by hand


def test_mo_grpo_by_hand() -> None:
    """z of (1, 0) is +-sqrt(1/2); with weights 1 and 0.5 where they agree 1.5 times that, where not 0.5 times."""
    z = math.sqrt(0.5)
    found = run([[[1, 1], [0, 0]], [[1, 0], [0, 1]]], TWO, "mo_grpo")
    assert found.advantages.ravel().tolist() == pytest.approx([1.5 * z, -1.5 * z, 0.5 * z, -0.5 * z])
    assert found.contributions[:, :, 0].ravel().tolist() == pytest.approx([z, -z, z, -z])
    assert shares(found.contributions).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert conflict(found.trained[:, :, 0], found.trained[:, :, 1], 1.0) == 0.5


def test_the_sum_is_shared_by_spread_not_by_weight() -> None:
    """Equal weights, spreads 10 and 1: ten elevenths of the advantage, +- sqrt(1/2), are the first's."""
    found = run([[[10, 1], [0, 0]]], {"a": Part(), "b": Part()})
    assert shares(found.contributions).tolist() == pytest.approx([10 / 11, 1 / 11])
    assert found.contributions[0, 0].tolist() == pytest.approx([10 / 11 * math.sqrt(0.5), 1 / 11 * math.sqrt(0.5)])


def test_conflict_by_hand() -> None:
    """Of four, both apply to three: (3, 1), (0, 2) and (0, 0), means 1 and 1: signs (+, 0), (-, +), (-, -)."""
    one, other = np.array([[3.0, 0.0, 0.0, NAN]]), np.array([[1.0, 2.0, 0.0, 9.0]])
    assert conflict(one, other, 1.0) == pytest.approx(1 / 3)
    assert conflict(one, other, -1.0) == pytest.approx(1 / 3)
    assert math.isnan(conflict(one, np.full((1, 4), NAN), 1.0))


def test_gdpo_whitens_over_sequences() -> None:
    found = run(np.random.default_rng(0).random((5, 4, 2)), TWO, "gdpo").advantages
    assert found.mean() == pytest.approx(0.0, abs=1e-12)
    assert found.std(ddof=1) == pytest.approx(1.0)


def test_gd2po_drops_what_cancels() -> None:
    """Equal weights. Group 0 agrees; in group 1 both cancel exactly, so that its samples leave the whitening too."""
    parts = {"a": Part(), "b": Part()}
    found = run([[[1, 1], [0, 0]], [[1, 0], [0, 1]]], parts, "gd2po").advantages
    assert found[1].tolist() == [0, 0]
    assert found[0].tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])


def test_lexicographic_by_hand() -> None:
    """Group 0 differs in tier 0, so tier 1 is silent there; group 1 does not, so tier 1 decides, with its weight."""
    parts = {"right": Part(), "short": Part(weight=0.5, tier=1)}
    z = math.sqrt(0.5)
    found = run([[[1, 0], [0, 1]], [[1, 0], [1, 1]], [[0, 0], [0, 0]]], parts, "lexicographic").advantages
    assert found.ravel().tolist() == pytest.approx([z, -z, -0.5 * z, 0.5 * z, 0, 0])


def gated(rewards: object, signs: object = (1.0, 1.0), compared: str = "group") -> list:
    """The second of two rewards, whose gate is that the first reaches 1."""
    rewards = np.array(rewards)
    is_open = passing(rewards, {"right": Part(), "other": Part(gate={"right": 1.0})})
    return shut(rewards, is_open, np.array(signs), compared)[:, :, 1].tolist()


def test_a_gate_by_hand() -> None:
    """Format counts for right answers only; a penalty does not spare wrong ones: they get the worst of the right. What
    is to be low is worst where it is high. The worst of the batch, where completions are compared across groups."""
    assert gated([[[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [NAN, 1.0]]]) == [[1, 0, 0, 0]]
    assert gated([[[1.0, -3.0], [1.0, -1.0], [0.0, -9.0]]]) == [[-3, -1, -3]]
    assert gated([[[0.0, -3.0], [0.0, 2.0]]]) == [[0, 0]]
    assert gated([[[1.0, 30.0], [1.0, 20.0], [0.0, 5.0]]], signs=(1.0, -1.0)) == [[30, 20, 30]]
    both = [[[1.0, -3.0], [0.0, -9.0]], [[0.0, -1.0], [0.0, 0.0]]]
    assert gated(both) == [[-3, -3], [0, 0]]
    assert gated(both, compared="batch") == [[-3, -3], [-3, -3]]


@pytest.mark.parametrize("way", EVERY)
@settings(max_examples=40, deadline=None)
@given(many, st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([0.0, 1.0]))
def test_a_gate_never_looks_at_the_gated_off(way: str, rewards: list, low: float, high: float) -> None:
    """Raising the gated reward of a completion that is shut out changes nobody's advantage."""
    array, parts = np.array(rewards), three(way)
    parts["b"] = replace(parts["b"], gate={"a": 1.0})
    closed = ~(array[:, :, 0] >= 1.0) & ~np.isnan(array[:, :, 1])
    results = []
    for value in (low, high):
        changed = array.copy()
        changed[:, :, 1][closed] = value
        results.append(run(changed, parts, way).advantages)
    assert np.array_equal(*results)


@pytest.mark.parametrize("way", ["sum", "mo_grpo", "gdpo", "lexicographic", "constrained"])
@pytest.mark.parametrize("role", ["raised", "lowered", "bounded"])
@settings(max_examples=40, deadline=None)
@given(many, st.floats(-3, 0), st.floats(0.1, 3), st.sampled_from([*CENTRES, "none"]), st.sampled_from(SCALES))
def test_a_gate_never_rewards_the_gated_off(
    way: str, role: str, rewards: list, shift: float, factor: float, centre: str, scale: str
) -> None:
    """Whatever the sign of rewards and weights: what a gated reward brings to a completion that is shut out is never
    positive, and never more than what it brings to one of its group that is not."""
    array = np.array(rewards) * np.array([1.0, factor, 1.0]) + np.array([0.0, shift, 0.0])
    parts, gate = three(way), {"a": 1.0}
    if role == "bounded" and way == "constrained":
        parts["b"] = Part(role="constraint", at_most=-9.0, weight=0.5, gate=gate)
    else:
        parts["b"] = replace(parts["b"], weight=-0.7 if role == "lowered" else 0.7, gate=gate)
    brought = run(array, parts, way, AdvantageConfig(eps=0.0, centre=centre, scale=scale)).contributions[:, :, 1]
    is_open, scored = array[:, :, 0] >= 1.0, ~np.isnan(array[:, :, 1])
    if way == "gdpo":
        brought = np.where(scored, brought, 0.0)
    for row, opens, counts in zip(brought, is_open, scored, strict=True):
        for value in row[counts & ~opens]:
            assert value <= 1e-9
            assert (value <= row[counts & opens] + 1e-9).all()


def test_gates_may_look_at_one_another() -> None:
    """They look at rewards as they came, so that each counts where both reach: there is no cycle to speak of."""
    parts = {"a": Part(gate={"b": 1.0}), "b": Part(gate={"a": 1.0})}
    CombineConfig().check(parts, EXACT)
    found = run([[[1, 1], [1, 0], [0, 1], [0, 0]]], parts, advantage=AdvantageConfig(scale="none"))
    assert found.total.tolist() == [[2, 0, 0, 0]]


def test_tchebycheff_by_hand() -> None:
    """Ideal (1, 1), weights 1 and 0.5: shortfalls max(0, 0.5) = 0.5 and max(0.6, 0) = 0.6; the first is better."""
    found = run([[[1.0, 0.0], [0.4, 1.0]]], TWO, "tchebycheff")
    assert found.advantages.ravel().tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])
    assert found.state.ideal == (1.0, 1.0)
    later = run([[[0.5, 0.0], [0.4, 0.2]]], TWO, "tchebycheff", state=found.state)
    assert later.state.ideal == (1.0, 1.0), "the ideal is the best ever seen"
    assert later.advantages[0, 0] > 0, "0.5 against 0.6"


def test_tchebycheff_measures_with_what_applies() -> None:
    """What does not apply to a completion stands at its group's mean, 0.5, so short by 0.5 as against 0.6: not at 0."""
    found = run([[[1.0, 1.0], [0.4, 1.0], [NAN, 1.0]]], TWO, "tchebycheff", AdvantageConfig(scale="none"))
    assert found.contributions[0, :, 0].tolist() == pytest.approx([0.3, -0.3, 0.0])
    never = run([[[NAN, 1.0], [NAN, 0.0]]], TWO, "tchebycheff")
    assert never.advantages.ravel().tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])
    assert never.state.ideal == (-math.inf, 1.0)


def test_hypervolume_scales_the_step() -> None:
    """Means (0, -1), where the volume starts, then (0.5, 1): 0.5 x 2 = 1 more, then nothing: 0.5 + 1.5 tanh(1)."""
    parts = {"a": Part(), "b": Part(), "c": Part(weight=0.0)}
    z = math.sqrt(0.5)
    first = run([[[0.5, -1.5, 7], [-0.5, -0.5, 7]]], parts, "hypervolume")
    assert first.state.corner == (0.0, -1.0, 7.0)
    assert first.state.front == ((0.0, -1.0, 7.0),)
    second = run([[[1.0, 2.0, 0], [0.0, 0.0, 0]]], parts, "hypervolume", state=first.state)
    assert second.advantages[0, 0] == pytest.approx((0.5 + 1.5 * math.tanh(1.0)) * z)
    third = run([[[1.0, 2.0, 0], [0.0, 0.0, 0]]], parts, "hypervolume", state=second.state)
    assert third.advantages[0, 0] == pytest.approx(0.5 * z)
    assert third.state.front == ((0.5, 1.0, 0.0),)


def test_dual_ascent_by_hand() -> None:
    """Tokens 30 and 50, mean 40, at most 35, unit 10: violation 0.5, so from 1 by rate 0.2 to 1.1; and z_R - 1.1 z_C.

    Damping 0.4 adds 0.2 while the violation lasts.
    """
    parts = {"right": Part(), "tokens": Part(role="constraint", at_most=35.0, scale=10.0)}
    z = math.sqrt(0.5)
    found = run([[[1, 30], [0, 50]]], parts, "constrained", rate=0.2)
    assert found.advantages.ravel().tolist() == pytest.approx([2.1 * z, -2.1 * z])
    assert found.weights.tolist() == pytest.approx([1.0, -1.1])
    damped = run([[[1, 30], [0, 50]]], parts, "constrained", rate=0.2, damping=0.4)
    assert damped.weights.tolist() == pytest.approx([1.0, -1.3])
    assert damped.state == found.state
    assert found.state.multipliers == pytest.approx((0.0, 1.1))
    eased = run([[[1, 10], [0, 20]]], parts, "constrained", rate=9.0, state=found.state)
    assert eased.state.multipliers[1] == 0.0, "never below 0"
    least = {"right": Part(), "form": Part(role="constraint", at_least=0.9, weight=0.0)}
    found = run([[[1, 1], [0, 0]]], least, "constrained", rate=0.5, largest=1.0)
    assert found.advantages.ravel().tolist() == pytest.approx([1.2 * z, -1.2 * z])
    assert found.state.multipliers == pytest.approx((0.0, 0.2))


def test_bounds_are_on_what_the_policy_does_not_on_what_trains() -> None:
    """The bound of 0.9 on being right is held by the policy, 10 of 10 and 8 of 10 in two groups that are silent and one
    that is mixed; the mixed group, which alone trains, shows 0.5. Tokens are bounded for the right answers only: mean
    20 of those, not 12. A damped violation is that of the same means.
    """
    right = np.array([[1.0] * 10, [1.0] * 10, [1.0] * 9 + [0.0]])
    tokens = np.where(right == 1, 20.0, 1.0)
    parts = {
        "right": Part(),
        "held": Part(role="constraint", at_least=0.9, weight=0.5),
        "tokens": Part(role="constraint", at_most=10.0, scale=10.0, weight=0.5, gate={"right": 1.0}),
    }
    kept = np.zeros(right.shape)
    kept[2, 5:] = 1
    found = run(np.stack([right, right, tokens], axis=2), parts, "constrained", rate=0.3, damping=0.1, kept=kept)
    assert found.means.tolist() == pytest.approx([29 / 30, 29 / 30, 20.0])
    assert found.state.multipliers == pytest.approx((0.0, 0.5 - 0.3 * (29 / 30 - 0.9), 0.5 + 0.3 * 1.0))
    assert found.weights.tolist() == pytest.approx([1.0, 0.5 - 0.4 * (29 / 30 - 0.9), -(0.8 + 0.1)])


def test_ctwa_grows_what_is_ignored() -> None:
    """The format, of small spread here, is due half of the follow of correctness, and not followed: it grows."""
    generator = np.random.default_rng(0)
    parts = {"a": Part(), "b": Part(weight=0.5)}
    state, seen = start_state(parts), []
    for _ in range(60):
        rewards = np.stack([generator.random((16, 8)), 0.02 * generator.random((16, 8))], axis=2)
        found = run(rewards, parts, "ctwa", state=state, rate=0.5, largest=100.0)
        state = found.state
        seen.append(followed(rewards[:, :, 1], found.advantages))
    assert np.mean(seen[:5]) < 0.1
    assert np.mean(seen[-5:]) == pytest.approx(0.25, abs=0.12)
    assert state.growth[0] == pytest.approx(0.0, abs=0.05)


def test_saw_fades_what_no_longer_varies() -> None:
    """Coefficients of variation 1 (of 0, 1) and 0 (of 1, 1): weights 2 and 0. Then 1/3 (of 2, 1) and 1, without memory
    in units of their mean 2/3: 0.5 and 1.5; with memory 0.5 they are 2/3 and 1/2, so 8/7 and 6/7."""
    parts = {"a": Part(), "b": Part()}
    for memory, weights in ((0.0, [0.5, 1.5]), (0.5, [8 / 7, 6 / 7])):
        first = run([[[0, 1], [1, 1]]], parts, "saw", memory=memory)
        assert first.weights.tolist() == [2, 0]
        second = run([[[2, 1], [1, 0]]], parts, "saw", state=first.state, memory=memory)
        assert second.weights.tolist() == pytest.approx(weights)


def test_schedules_by_hand() -> None:
    for shape, values in (("linear", [0, 0.5, 1, 1]), ("cosine", [0, 0.5, 1, 1]), ("step", [0, 0, 1, 1])):
        schedule = Schedule(start=0.0, end=1.0, rollouts=10, shape=shape)
        assert [schedule.at(k) for k in (0, 5, 10, 99)] == pytest.approx(values)
    assert Schedule(start=0.0, end=1.0, rollouts=4, shape="cosine").at(1) == pytest.approx(0.5 - 0.5 * math.sqrt(0.5))
    parts = {"a": Part(weight=Schedule(start=0.0, end=1.0, rollouts=2)), "b": Part()}
    state, seen = start_state(parts), []
    for _ in range(4):
        found = run([[[0, 1], [1, 0]]], parts, state=state)
        seen.append(found.weights[0])
        state = found.state
    assert seen == [0.0, 0.5, 1.0, 1.0]


# ------------------------------------------------------------------------------------------- problems with a solution


def test_the_constrained_way_holds_its_bound_on_a_bandit() -> None:
    """Four arms with (reward, cost) = (1, 1), (0.8, 0.5), (0.3, 0.1), (0, 0), and a mean cost of at most 0.3.

    The best mixture puts half on the second and half on the third arm: cost 0.3, reward 0.55. Per unit of cost the
    first arm, 0.4 more than the second, is worth less than the second, 1.25 more than the third.
    A linear program over arms; softmax policy, exact sampling of groups of 8, plain policy gradient.
    """
    reward, cost = np.array([1.0, 0.8, 0.3, 0.0]), np.array([1.0, 0.5, 0.1, 0.0])
    parts = {"reward": Part(), "cost": Part(role="constraint", at_most=0.3, weight=0.0)}
    config, advantage = CombineConfig(way="constrained", rate=0.05), AdvantageConfig(scale="none")
    generator, logits, state, seen = np.random.default_rng(0), np.zeros(4), start_state(parts), []
    for step in range(6000):
        policy = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        arms = generator.choice(4, (32, 8), p=policy)
        rewards = np.stack([reward[arms], cost[arms]], axis=2)
        every = np.ones((32, 8), dtype=int)
        found = combine(rewards, every > 0, every, parts, config, advantage, state)
        state = found.state
        gradient = np.array([(found.advantages * ((arms == arm) - policy[arm])).mean() for arm in range(4)])
        logits += 1.0 * gradient
        if step >= 3000:
            seen.append([policy @ reward, policy @ cost])
    gained, spent = np.mean(seen, axis=0)
    assert spent == pytest.approx(0.3, abs=0.02)
    assert gained == pytest.approx(0.55, abs=0.03)


def test_hypervolume_by_hand() -> None:
    """Two overlapping boxes 1 x 2 and 2 x 1: 3. In three dimensions a cube of 1 and one of 1 x 1 x 2: 2."""
    zero2, zero3 = np.zeros(2), np.zeros(3)
    assert hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), zero2) == 3.0
    assert hypervolume(np.array([[1.0, 2.0], [2.0, 1.0], [0.5, 0.5], [3.0, -1.0]]), zero2) == 3.0
    assert hypervolume(np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0]]), zero3) == 2.0
    assert hypervolume(np.array([[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]]), zero3) == 4.0
    assert hypervolume(np.zeros((0, 2)), zero2) == 0.0


def test_hypervolume_against_sampling() -> None:
    generator = np.random.default_rng(0)
    points = generator.random((12, 4))
    thrown = generator.random((200_000, 4))
    share = (thrown[:, None, :] <= points[None]).all(axis=2).any(axis=1).mean()
    assert hypervolume(points, np.zeros(4)) == pytest.approx(share, abs=0.005)


def test_non_dominated_by_hand() -> None:
    points = np.array([[1, 2], [2, 1], [1, 1], [2, 1], [0, 3]], dtype=float)
    assert non_dominated(points).tolist() == [True, True, False, False, True]


# --------------------------------------------------------------------------------------------------- state and settings


def test_the_state_is_restored_by_name() -> None:
    parts = {"a": Part(), "c": Part(role="constraint", at_most=1.0, weight=0.5)}
    state = replace(start_state(parts), rollouts=7, multipliers=(0.0, 0.9), ideal=(1.0, 2.0), front=((1.0, 3.0),))
    state = replace(state, running=(0.1, 0.2), growth=(0.3, 0.4), corner=(0.5, 0.6))
    assert restored(saved(state, ["a", "c"]), start_state(parts), ["a", "c"]) == state
    more = parts | {"new": Part(weight=0.0)}
    found = restored(saved(state, ["a", "c"]), start_state(more), ["new", "c", "a"])
    assert found.multipliers == (0.0, 0.9, 0.0)
    assert (found.rollouts, found.ideal) == (7, (-math.inf, 2.0, 1.0))
    assert np.array_equal(found.front, [[NAN, 3.0, 1.0]], equal_nan=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Part(at_most=1.0), "at_most: is for constraints; set role: constraint, not 'objective'"),
        (lambda: Part(role="metric", at_least=1.0), "at_least: is for constraints"),
        (lambda: Part(role="metric", weight=0.5), r"weight: 0\.5 is refused; a metric is never trained on"),
        (lambda: Part(role="constraint"), "a constraint has one bound, at_least or at_most; it has none"),
        (lambda: Part(role="constraint", at_most=1.0, at_least=0.0), "a constraint has one bound"),
        (lambda: Part(role="constraint", at_most=1.0, weight=-1.0), "a constraint's multiplier starts there"),
        (lambda: Part(role="constraint", at_most=NAN), "at_most: nan is refused"),
        (lambda: Part(gate={"a": NAN}), r"gate\.a: nan is refused"),
        (lambda: Part(weight=NAN), "weight: nan is refused"),
        (lambda: Part(scale=0.0), r"scale: 0\.0 is refused"),
        (lambda: Part(scale=math.inf), "scale: inf is refused"),
        (lambda: Schedule(start=0.0, end=1.0, rollouts=0), r"weight\.rollouts: 0 is refused"),
        (lambda: Schedule(start=0.0, end=NAN, rollouts=1), r"weight: from 0\.0 to nan is refused"),
        (lambda: Schedule(start=0.5, end=0.5, rollouts=1), r"weight: from 0\.5 to 0\.5 is no schedule"),
        (lambda: CombineConfig(rate=0.0), r"combine\.rate: 0\.0 is refused"),
        (
            lambda: CombineConfig(rate=0.5),
            r"combine\.rate: has no effect with combine\.way 'sum', only with constrained",
        ),
        (lambda: CombineConfig(way="ctwa", damping=0.5), r"combine\.damping: has no effect with combine\.way 'ctwa'"),
        (lambda: CombineConfig(way="gdpo", agreement=0.5), r"combine\.agreement: has no effect"),
        (lambda: CombineConfig(way="saw", memory=1.0), r"combine\.memory: 1\.0 is refused"),
        (lambda: CombineConfig().check({"a": Part(weight=0.0)}, EXACT), "none is an objective with a weight"),
        (lambda: CombineConfig(way="constrained").check(TWO, EXACT), "'constrained' needs a reward with"),
        (
            lambda: CombineConfig().check(TWO | {"c": Part(role="constraint", at_most=1.0)}, EXACT),
            r"rewards\.c\.role: 'constraint' needs combine\.way: constrained; it is 'sum'",
        ),
        (
            lambda: CombineConfig(way="constrained", largest=2.0).check(
                TWO | {"c": Part(role="constraint", at_most=1.0, weight=3.0)}, EXACT
            ),
            r"rewards\.c\.weight: a multiplier cannot start at 3, above combine\.largest, 2",
        ),
        (lambda: CombineConfig(way="lexicographic").check(TWO, EXACT), "'lexicographic' needs objectives in two tiers"),
        (
            lambda: CombineConfig(way="lexicographic").check({"a": Part(), "b": Part(tier=1)}, EXACT, judge="a"),
            r"filters\.silent: leaves out groups that 'a' does not tell apart",
        ),
        (lambda: CombineConfig().check({"a": Part(), "b": Part(tier=1)}, EXACT), r"rewards\.b\.tier: 1 has no effect"),
        (
            lambda: CombineConfig(way="lexicographic").check({"a": Part(), "b": Part(weight=0.0, tier=1)}, EXACT),
            r"rewards\.b\.tier: 1 has no effect",
        ),
        (lambda: CombineConfig(way="gdpo").check(TWO, AdvantageConfig(scale="none")), "nothing to normalise by"),
        (
            lambda: CombineConfig(way="tchebycheff").check({"a": Part(), "b": Part(weight=-1.0)}, EXACT),
            r"rewards\.b\.weight: is negative",
        ),
        (
            lambda: CombineConfig(way="tchebycheff").check(TWO, AdvantageConfig(scale="mean")),
            r"advantage\.scale: 'mean' needs sums of at least 0; combine\.way 'tchebycheff' has none",
        ),
        (
            lambda: CombineConfig().check({"a": Part(weight=-1.0)}, AdvantageConfig(scale="mean")),
            r"advantage\.scale: 'mean' needs sums of at least 0; rewards\.a\.weight is negative",
        ),
        (
            lambda: CombineConfig().check({"a": Part(gate={"z": 1.0})}, EXACT),
            r"rewards\.a\.gate: no reward is named z; there are a",
        ),
        (lambda: CombineConfig().check({"a": Part(gate={"a": 1.0})}, EXACT), "cannot be its own gate"),
    ],
)
def test_contradictions_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_wrong_setting_is_named_with_its_reward() -> None:
    """As in the config: rewards.NAME.KEY; and two rewards of one name would leave gates and metrics in doubt."""
    with pytest.raises(ValueError, match=r"^rewards\.form\.weight: nan is refused"):
        RewardSpec(reward=always, name="form", weight=NAN)
    with pytest.raises(ValueError, match=r"^rewards\.always\.at_most: is for constraints"):
        RewardSpec(reward=always, at_most=1.0)
    with pytest.raises(ValueError, match="rewards: the name 'form' is given to 2; each needs its own"):
        Scorer([RewardSpec(reward=always, name="form", inline=True)] * 2)
    parts = {"objective": ObjectiveConfig(), "filters": FilterConfig(), "mismatch": MismatchConfig()}
    recipe = Recipe(**parts, advantage=AdvantageConfig(overlong_share=0.2), combine=CombineConfig())
    with pytest.raises(ValueError, match=r"rewards: 'overlong' is the penalty of advantage\.overlong_share"):
        recipe.all_parts({"overlong": Part()})
