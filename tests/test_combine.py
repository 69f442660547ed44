"""Ways to combine rewards: by hand, by invariance, by what is really followed, and on problems with known solutions."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo_lightning.advantages import AdvantageConfig, group_advantages
from grpo_lightning.combine import (
    CombineConfig,
    Combined,
    State,
    combine,
    conflicts,
    followed,
    gated,
    restored,
    saved,
    shares,
    start_state,
)
from grpo_lightning.pareto import hypervolume, non_dominated
from grpo_lightning.parts import Part, Schedule

NAN = math.nan
EXACT = AdvantageConfig(eps=0.0)
TWO = {"a": Part(), "b": Part(weight=0.5)}


def run(
    rewards: object,
    parts: dict[str, Part] | None = None,
    way: str = "sum",
    advantage: AdvantageConfig = EXACT,
    state: State | None = None,
    **settings: object,
) -> Combined:
    rewards = np.array(rewards, dtype=float)
    parts = {name: Part() for name in "abcdef"[: rewards.shape[2]]} if parts is None else parts
    lengths = np.ones(rewards.shape[:2], dtype=int)
    config = CombineConfig(way=way, **settings)
    return combine(rewards, lengths, parts, config, advantage, state or start_state(parts))


WAYS = ["sum", "mo_grpo", "gdpo", "gd2po", "ctwa", "saw", "tchebycheff"]
"""Those that need nothing but weights."""


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


@settings(max_examples=40)
@given(many, st.sampled_from(WAYS))
def test_permuting_completions_permutes_advantages(rewards: list, way: str) -> None:
    array = np.array(rewards)
    assert np.allclose(run(array[:, ::-1], way=way).advantages[:, ::-1], run(array, way=way).advantages, atol=1e-9)


@settings(max_examples=40)
@given(many, st.floats(0.5, 20), st.floats(-5, 5), st.sampled_from(["mo_grpo", "gdpo", "gd2po", "lexicographic"]))
def test_affine_changes_of_a_reward_change_nothing(rewards: list, factor: float, shift: float, way: str) -> None:
    array = np.array(rewards)
    parts = {"a": Part(), "b": Part(weight=0.371, tier=int(way == "lexicographic")), "c": Part(weight=0.613)}
    changed = array * np.array([1.0, factor, 1.0]) + np.array([0.0, shift, 0.0])
    assert np.allclose(run(changed, parts, way).advantages, run(array, parts, way).advantages, atol=1e-6)


@settings(max_examples=40)
@given(many, st.floats(-5, 5), st.sampled_from([way for way in WAYS if way != "saw"]))
def test_adding_a_constant_changes_nothing(rewards: list, shift: float, way: str) -> None:
    """But for saw, whose coefficient of variation knows where zero is."""
    array = np.array(rewards)
    spread = group_advantages(array[:, :, 0], np.ones(array.shape[:2], dtype=int), AdvantageConfig(scale="none"))
    assert np.isfinite(spread).all()
    parts = {"a": Part(), "b": Part(weight=0.371), "c": Part(weight=0.613)}  # odd, so that no two cancel exactly
    assert np.allclose(run(array + shift, parts, way).advantages, run(array, parts, way).advantages, atol=1e-6)


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, NAN]), min_size=4, max_size=4), min_size=1, max_size=4))
def test_one_reward_is_plain_grpo(rewards: list) -> None:
    array = np.array(rewards)
    plain = group_advantages(array, np.ones(array.shape, dtype=int), EXACT)
    for way in ("sum", "mo_grpo", "gdpo", "ctwa", "saw"):
        assert np.array_equal(run(array[:, :, None], way=way).advantages, plain), way
    assert np.allclose(run(array[:, :, None], way="tchebycheff").advantages, plain, atol=1e-12)


@pytest.mark.parametrize("way", [*WAYS, "lexicographic"])
def test_the_sign_of_a_weight_is_the_sign_of_what_is_followed(way: str) -> None:
    rewards = np.random.default_rng(1).random((200, 6, 2))
    for sign in (1.0, -1.0):
        parts = {"a": Part(weight=sign), "b": Part(weight=0.1, tier=int(way == "lexicographic"))}
        if way == "tchebycheff" and sign < 0:
            continue  # refused
        assert sign * followed(rewards[:, :, 0], run(rewards, parts, way).advantages) > 0.5


def test_a_row_without_rewards_gets_nothing_and_moves_nobody() -> None:
    """The third completion applies to nothing; the other two are as if it were not there."""
    for way in WAYS:
        three = run([[[1, 0], [0, 1], [NAN, NAN]], [[0, 0], [1, 1], [0, 1]]], TWO, way).advantages
        assert three[0, 2] == 0, way
        assert np.isfinite(three).all()


# ------------------------------------------------------------------------------------------------------------- by hand


def test_mo_grpo_by_hand() -> None:
    """z of (1, 0) is +-sqrt(1/2); with weights 1 and 0.5 where they agree 1.5 times that, where not 0.5 times."""
    z = math.sqrt(0.5)
    found = run([[[1, 1], [0, 0]], [[1, 0], [0, 1]]], TWO, "mo_grpo")
    assert found.advantages.ravel().tolist() == pytest.approx([1.5 * z, -1.5 * z, 0.5 * z, -0.5 * z])
    assert found.contributions[:, :, 0].ravel().tolist() == pytest.approx([z, -z, z, -z])
    assert shares(found).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert conflicts(found, 0, 1) == 0.5


def test_the_sum_is_shared_by_spread_not_by_weight() -> None:
    """Equal weights, spreads 10 and 1: ten elevenths of the advantage are the first's."""
    found = run([[[10, 1], [0, 0]]], {"a": Part(), "b": Part()})
    assert shares(found).tolist() == pytest.approx([10 / 11, 1 / 11])
    assert found.contributions.ravel().tolist() == [5, 0.5, -5, -0.5]


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


def test_a_gate_by_hand() -> None:
    """Format counts for right answers only; a penalty does not spare wrong ones: they get the worst of the right."""
    names, parts = ["right", "format"], [Part(), Part(gate={"right": 1.0})]
    closed = gated(np.array([[[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [NAN, 1.0]]]), names, parts)
    assert closed[0, :, 1].tolist() == [1, 0, 0, 0]
    penalty = gated(np.array([[[1.0, -3.0], [1.0, -1.0], [0.0, -9.0]]]), names, parts)
    assert penalty[0, :, 1].tolist() == [-3, -1, -3]
    nobody = gated(np.array([[[0.0, -3.0], [0.0, 2.0]]]), names, parts)
    assert nobody[0, :, 1].tolist() == [0, 0]


@settings(max_examples=60)
@given(many, st.sampled_from(WAYS), st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([0.0, 1.0]))
def test_a_gate_never_rewards_the_gated_off(rewards: list, way: str, low: float, high: float) -> None:
    """Raising the gated reward of a completion that is shut out changes nobody's advantage."""
    array = np.array(rewards)
    parts = {"a": Part(), "b": Part(gate={"a": 1.0}), "c": Part(weight=0.5)}
    shut = ~(array[:, :, 0] >= 1.0) & ~np.isnan(array[:, :, 1])
    results = []
    for value in (low, high):
        changed = array.copy()
        changed[:, :, 1][shut] = value
        results.append(run(changed, parts, way).advantages)
    assert np.array_equal(*results)


def test_tchebycheff_by_hand() -> None:
    """Ideal (1, 1), weights 1 and 0.5: shortfalls max(0, 0.5) = 0.5 and max(0.6, 0) = 0.6; the first is better."""
    found = run([[[1.0, 0.0], [0.4, 1.0]]], TWO, "tchebycheff")
    assert found.advantages.ravel().tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])
    assert found.state.ideal == (1.0, 1.0)
    later = run([[[0.5, 0.0], [0.4, 0.2]]], TWO, "tchebycheff", state=found.state)
    assert later.state.ideal == (1.0, 1.0), "the ideal is the best ever seen"
    assert later.advantages[0, 0] > 0, "0.5 against 0.6"


def test_hypervolume_scales_the_step() -> None:
    """Batch means (0.5, 0.5), then (1, 0.5): volumes 0.25 and 0.5, so 0.5 + 1.5 tanh(1); then nothing new: 0.5."""
    parts = {"a": Part(), "b": Part()}
    first = run([[[1.0, 0.0], [0.0, 1.0]]], parts, "hypervolume")
    assert first.state.front == ((0.5, 0.5),)
    second = run([[[1.0, 1.0], [1.0, 0.0]]], parts, "hypervolume", state=first.state)
    assert second.advantages[0, 0] == pytest.approx((0.5 + 1.5 * math.tanh(1.0)) * math.sqrt(0.5))
    third = run([[[1.0, 1.0], [1.0, 0.0]]], parts, "hypervolume", state=second.state)
    assert third.advantages[0, 0] == pytest.approx(0.5 * math.sqrt(0.5))
    assert third.state.front == ((1.0, 0.5),)


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
    """Coefficients of variation 1 (of 0, 1) and 0 (of 1, 1): the second rollout's weights are 2 and 0."""
    parts = {"a": Part(), "b": Part()}
    first = run([[[0, 1], [1, 1]]], parts, "saw")
    assert first.weights.tolist() == [1, 1]
    assert run([[[0, 1], [1, 0]]], parts, "saw", state=first.state).weights.tolist() == [2, 0]


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
        found = combine(rewards, np.ones((32, 8), dtype=int), parts, config, advantage, state)
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
    state = replace(start_state(parts), rollouts=7, multipliers=(0.0, 0.9), ideal=(1.0, 2.0), front=((1.0,),))
    assert restored(saved(state, ["a", "c"]), start_state(parts), ["a", "c"]) == state
    more = parts | {"new": Part(weight=0.0)}
    found = restored(saved(state, ["a", "c"]), start_state(more), ["new", "c", "a"])
    assert found.multipliers == (0.0, 0.9, 0.0)
    assert (found.rollouts, found.ideal, found.front) == (7, (-math.inf, 2.0, 1.0), ())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Part(at_most=1.0), "a constraint has exactly one of them"),
        (lambda: Part(role="constraint"), "a constraint has exactly one of them"),
        (lambda: Part(role="constraint", at_most=1.0, at_least=0.0), "a constraint has exactly one of them"),
        (lambda: Part(role="constraint", at_most=1.0, weight=-1.0), "a constraint's multiplier starts there"),
        (lambda: Part(weight=NAN), "weight: nan is refused"),
        (lambda: Part(scale=0.0), "scale: 0.0 is refused"),
        (lambda: Schedule(start=0.0, end=1.0, rollouts=0), r"weight\.rollouts: 0 is refused"),
        (lambda: CombineConfig(rate=0.0), r"combine\.rate: 0\.0 is refused"),
        (lambda: CombineConfig().check({"a": Part(weight=0.0)}, EXACT), "none is an objective with a weight"),
        (lambda: CombineConfig(way="constrained").check(TWO, EXACT), "need one another"),
        (
            lambda: CombineConfig().check(TWO | {"c": Part(role="constraint", at_most=1.0)}, EXACT),
            "'constrained' and rewards with `role: constraint` need one another",
        ),
        (lambda: CombineConfig(way="lexicographic").check(TWO, EXACT), "more than one tier need one another"),
        (lambda: CombineConfig().check({"a": Part(), "b": Part(tier=1)}, EXACT), "more than one tier need one another"),
        (lambda: CombineConfig(way="gdpo").check(TWO, AdvantageConfig(scale="none")), "nothing to normalise by"),
        (lambda: CombineConfig(way="tchebycheff").check({"a": Part(weight=-1.0)}, EXACT), "positive weights"),
        (lambda: CombineConfig().check({"a": Part(gate={"z": 1.0})}, EXACT), r"rewards\.a\.gate: no reward is named z"),
        (lambda: CombineConfig().check({"a": Part(gate={"a": 1.0})}, EXACT), "cannot be its own gate"),
    ],
)
def test_contradictions_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
