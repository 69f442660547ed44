"""Advantages and the weighted sum, by hand and by invariance."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grpo_lightning import advantages
from grpo_lightning.advantages import AdvantageConfig, has_signal
from grpo_lightning.ways import weighted_sum

FOUR_OF_EIGHT = np.array([[1.0, 1, 1, 1, 0, 0, 0, 0]])
NAN = math.nan


def group_advantages(rewards: np.ndarray, config: AdvantageConfig, lengths: np.ndarray | None = None) -> np.ndarray:
    return advantages.group_advantages(
        rewards, np.ones(rewards.shape, dtype=int) if lengths is None else lengths, config
    )


groups = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(2, 8)), elements=st.one_of(st.floats(-10, 10), st.just(NAN))
)


def test_four_right_of_eight() -> None:
    """Mean 0.5; sum of squares 8 x 0.25 = 2; sample std sqrt(2 / 7) = 0.5345, 0.5 / 0.5345 = 0.9354."""
    sample = group_advantages(FOUR_OF_EIGHT, AdvantageConfig(std="sample", eps=0.0))
    assert sample[0].tolist() == pytest.approx([0.9354] * 4 + [-0.9354] * 4, abs=5e-5)
    population = group_advantages(FOUR_OF_EIGHT, AdvantageConfig(std="population", eps=0.0))
    assert population[0].tolist() == pytest.approx([1.0] * 4 + [-1.0] * 4)


def test_dr_grpo_only_centres() -> None:
    assert group_advantages(FOUR_OF_EIGHT, AdvantageConfig(scale="none"))[0].tolist() == [0.5] * 4 + [-0.5] * 4


def test_eps_is_added_to_the_std() -> None:
    found = group_advantages(FOUR_OF_EIGHT, AdvantageConfig(std="population", eps=0.5))
    assert found[0, 0] == pytest.approx(0.5 / (0.5 + 0.5))


def test_a_completion_without_reward_leaves_the_baseline() -> None:
    """Of (1, 0, NaN): mean 0.5, population std 0.5; the third gets 0."""
    found = group_advantages(np.array([[1.0, 0.0, NAN]]), AdvantageConfig(std="population", eps=0.0))
    assert found[0].tolist() == pytest.approx([1.0, -1.0, 0.0])


@pytest.mark.parametrize("value", [0.0, 0.1, 1.1, 1e9, NAN])
@pytest.mark.parametrize("scale", ["group", "none"])
def test_equal_rewards_give_exactly_zero(value: float, scale: str) -> None:
    rewards = np.full((2, 7), value)
    assert not has_signal(rewards).any()
    assert (group_advantages(rewards, AdvantageConfig(scale=scale, eps=0.0)) == 0).all()


@given(groups, st.sampled_from(["group", "none"]), st.sampled_from(["sample", "population"]))
def test_advantages_are_finite_and_centred(rewards: np.ndarray, scale: str, std: str) -> None:
    found = group_advantages(rewards, AdvantageConfig(scale=scale, std=std, eps=0.0))
    assert np.isfinite(found).all()
    assert np.abs(found.sum(axis=1)).max() < 1e-6
    assert (found[np.isnan(rewards)] == 0).all()


@given(groups, st.floats(0.1, 10), st.floats(-5, 5))
def test_scale_and_shift_of_the_reward_change_nothing(rewards: np.ndarray, factor: float, shift: float) -> None:
    config = AdvantageConfig(eps=0.0)
    spread = np.nanmax(rewards, axis=1, initial=-11) - np.nanmin(rewards, axis=1, initial=11)
    rewards = rewards[spread > 1e-3]
    if len(rewards):
        shifted = group_advantages(rewards * factor + shift, config)
        assert np.allclose(group_advantages(rewards, config), shifted, atol=1e-6)


@given(groups, st.randoms(use_true_random=False))
def test_permuting_completions_permutes_advantages(rewards: np.ndarray, random: object) -> None:
    order = list(range(rewards.shape[1]))
    random.shuffle(order)
    permuted = group_advantages(rewards[:, order], AdvantageConfig(eps=1e-4))
    assert np.allclose(permuted, group_advantages(rewards, AdvantageConfig(eps=1e-4))[:, order], atol=1e-9)


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="group_size: 1 has no baseline; use at least 2"):
        group_advantages(np.ones((3, 1)), AdvantageConfig())


def test_an_infinite_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="inf reached the advantages; they must be finite"):
        group_advantages(np.array([[1.0, math.inf]]), AdvantageConfig())


def test_a_negative_eps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"advantage\.eps: -1\.0 is refused"):
        AdvantageConfig(eps=-1.0)


def test_weighted_sum_by_hand() -> None:
    """1 x 1 + 0.1 x 1 = 1.1 and 1 x 0 + 0.1 x 1 = 0.1."""
    rewards = np.array([[[1.0, 1.0], [0.0, 1.0]]])
    assert weighted_sum(rewards, np.array([1.0, 0.1]))[0].tolist() == pytest.approx([1.1, 0.1])


def test_a_missing_reward_counts_as_its_groups_mean() -> None:
    """The second reward of completion 3 stands in as (1 + 0) / 2 = 0.5."""
    rewards = np.array([[[1.0, 1.0], [0.0, 0.0], [1.0, NAN]]])
    assert weighted_sum(rewards, np.array([1.0, 2.0]))[0].tolist() == pytest.approx([3.0, 0.0, 2.0])


def test_a_reward_that_applies_to_nobody_adds_nothing() -> None:
    rewards = np.array([[[1.0, NAN], [0.0, NAN]], [[NAN, 0.5], [NAN, 1.0]]])
    assert weighted_sum(rewards, np.array([1.0, 2.0])).tolist() == [[1.0, 0.0], [1.0, 2.0]]


def test_without_any_weighted_reward_there_is_none() -> None:
    """A reward of weight 0 is shown, not trained on: alone it leaves NaN."""
    rewards = np.array([[[NAN, 0.7], [1.0, 0.7]]])
    found = weighted_sum(rewards, np.array([1.0, 0.0]))
    assert np.isnan(found[0, 0])
    assert found[0, 1] == 1.0


@pytest.mark.parametrize("count", range(2, 20))
def test_standing_in_makes_no_signal_out_of_rounding(count: int) -> None:
    """The mean of n times 0.1 is not 0.1 in floating point for every n; it must be here."""
    rewards = np.full((1, count + 1, 1), 0.1)
    rewards[0, -1, 0] = NAN
    found = np.append(
        weighted_sum(rewards, np.array([1.0]))[:, :-1], weighted_sum(rewards, np.array([1.0]))[:, :1], axis=1
    )
    assert not has_signal(found).any()
    both = np.concatenate([rewards, np.ones_like(rewards)], axis=2)
    assert not has_signal(weighted_sum(both, np.array([1.0, 0.5]))).any()


# -------------------------------------------------------------------------------------------- other centres and scales


REWARDS = np.array([[4.0, 1.0, 1.0, 2.0], [1.0, 0.0, 0.0, 0.0]])
"""Group means 2 and 0.25; mean of all 9 / 8 = 1.125."""
TOKENS = np.array([[1, 1, 2, 4], [2, 2, 2, 2]])


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        ("none", REWARDS.tolist()),
        ("group", [[2, -1, -1, 0], [0.75, -0.25, -0.25, -0.25]]),
        # against the mean of the others: 4 - 4/3, 1 - 7/3, 1 - 7/3, 2 - 6/3
        ("leave_one_out", [[8 / 3, -4 / 3, -4 / 3, 0], [1, -1 / 3, -1 / 3, -1 / 3]]),
        # (4 + 1 + 2 + 8) / 8 = 1.875, and 2 / 8
        ("length", [[2.125, -0.875, -0.875, 0.125], [0.75, -0.25, -0.25, -0.25]]),
        ("batch", [[2.875, -0.125, -0.125, 0.875], [-0.125, -1.125, -1.125, -1.125]]),
        ("runner_up", [[2, 0, 0, 0], [1, 0, 0, 0]]),  # 4 leads 2, and 1 leads 0
    ],
)
def test_centres_by_hand(centre: str, expected: list[list[float]]) -> None:
    found = group_advantages(REWARDS, AdvantageConfig(centre=centre, scale="none"), TOKENS)
    assert found.ravel().tolist() == pytest.approx(np.array(expected).ravel().tolist())


def test_scales_by_hand() -> None:
    """group: sums of squares 4 + 1 + 1 = 6 and 0.5625 + 3 x 0.0625 = 0.75 over 3. batch: squares of all rewards,
    16 + 1 + 1 + 4 + 1 = 23, less 9^2 / 8, over 7. whiten: of the centred ones, whose mean is 0, 6.75 over 7. mean: 2
    and 0.25."""
    expected = {
        "group": [math.sqrt(6 / 3), math.sqrt(0.75 / 3)],
        "batch": [math.sqrt((23 - 81 / 8) / 7)] * 2,
        "whiten": [math.sqrt(6.75 / 7)] * 2,
        "mean": [2.0, 0.25],
    }
    for scale, (first, second) in expected.items():
        found = group_advantages(REWARDS, AdvantageConfig(scale=scale, eps=0.0))
        assert found[:, 0].tolist() == pytest.approx([2 / first, 0.75 / second]), scale


def test_population_statistics_over_the_batch() -> None:
    found = group_advantages(REWARDS, AdvantageConfig(centre="batch", scale="batch", std="population", eps=0.0))
    assert found.mean() == pytest.approx(0.0, abs=1e-12)
    assert (found**2).mean() == pytest.approx(1.0)


def test_the_batch_mean_is_over_what_has_a_reward() -> None:
    """Of 1, 0 and 2 the mean is 1."""
    found = group_advantages(np.array([[1.0, 0.0], [2.0, NAN]]), AdvantageConfig(centre="batch", scale="none"))
    assert found.tolist() == [[0, -1], [1, 0]]


def test_maxrl_without_a_right_answer_is_zero_and_refuses_negative_rewards() -> None:
    """One right of four: (1 - 1/4) / (1/4) = 3 and -1; none right: a mean of 0, so zeros."""
    config = AdvantageConfig(scale="mean")
    assert group_advantages(np.array([[1.0, 0, 0, 0], [0.0, 0, 0, 0]]), config).tolist() == [[3, -1, -1, -1], [0] * 4]
    with pytest.raises(ValueError, match=r"advantage\.scale: 'mean' needs rewards of at least 0; one is -1"):
        group_advantages(np.array([[1.0, -1.0]]), config)


def test_the_best_without_a_lead_gets_nothing() -> None:
    config = AdvantageConfig(centre="runner_up", scale="none")
    found = group_advantages(np.array([[1.0, 1.0, 0.0], [NAN, 1.0, NAN], [NAN, 1.0, 0.25]]), config)
    assert found.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0.75, 0]]


@pytest.mark.parametrize("centre", ["group", "leave_one_out", "length", "runner_up"])
def test_equal_rewards_give_exactly_zero_from_every_centre_in_the_group(centre: str) -> None:
    for scale in ("group", "batch", "whiten", "mean", "none"):
        rewards = np.stack([np.full(7, 0.1), np.linspace(0, 1, 7)])
        found = group_advantages(rewards, AdvantageConfig(centre=centre, scale=scale), np.arange(14).reshape(2, 7))
        assert (found[0] == 0).all(), scale


def test_a_scale_too_small_to_divide_by_is_none() -> None:
    """The first group's mean is 5e-324: the batch's centre 2/3 divided by it is beyond any float."""
    config = AdvantageConfig(centre="batch", scale="mean")
    found = group_advantages(np.array([[NAN, 5e-324], [1.0, 1.0]]), config, np.ones((2, 2), dtype=int))
    assert found[0].tolist() == [0, 0]
    assert found[1].tolist() == pytest.approx([1 / 3, 1 / 3])


@given(
    groups,
    st.sampled_from(["group", "leave_one_out", "length", "batch", "runner_up", "none"]),
    st.sampled_from(["group", "batch", "whiten", "mean", "none"]),
    st.sampled_from(["sample", "population"]),
)
def test_every_combination_is_finite_and_permutes(rewards: np.ndarray, centre: str, scale: str, std: str) -> None:
    rewards = np.abs(rewards)
    config = AdvantageConfig(centre=centre, scale=scale, std=std)
    lengths = np.arange(rewards.size).reshape(rewards.shape)
    found = group_advantages(rewards, config, lengths)
    assert np.isfinite(found).all()
    assert (found[np.isnan(rewards)] == 0).all()
    turned = group_advantages(rewards[::-1, ::-1], config, lengths[::-1, ::-1])
    assert np.allclose(turned[::-1, ::-1], found, rtol=1e-6, atol=1e-6)


def test_overlong_penalty_by_hand() -> None:
    """L_max 100, share 0.2: from 80 tokens on 1/20 for each more, so 0, 0, -0.25, -1, and never below."""
    found = advantages.overlong_penalty(np.array([[10, 80, 85, 100]]), 100, 0.2)
    assert found.tolist() == [[0, 0, -0.25, -1]]
    assert advantages.overlong_penalty(np.array([[10, 100]]), 100, 0.0).tolist() == [[0, 0]]


def test_keeping_the_shortest_and_the_most_efficient() -> None:
    """Lengths 4, 1, 3, 2 and rewards 8, 1, 0, NaN: the two shortest with a reward are 1 and 3 tokens long; rewards per
    token are 2, 1, 0."""
    rewards, lengths = np.array([[8.0, 1.0, 0.0, NAN]]), np.array([[4, 1, 3, 2]])
    shortest = advantages.keep_best(rewards, lengths, AdvantageConfig(keep=2))
    assert np.isnan(shortest).tolist() == [[True, False, False, True]]
    efficient = advantages.keep_best(rewards, lengths, AdvantageConfig(keep=2, keep_by="efficiency"))
    assert np.isnan(efficient).tolist() == [[False, False, True, True]]
    assert advantages.keep_best(rewards, lengths, AdvantageConfig()) is rewards


def test_what_is_not_kept_leaves_the_statistics() -> None:
    """GFPO: of (1, 0, 5) the first two are kept, mean 0.5, so +-0.5 and 0."""
    kept = advantages.keep_best(np.array([[1.0, 0.0, 5.0]]), np.array([[1, 2, 3]]), AdvantageConfig(keep=2))
    assert group_advantages(kept, AdvantageConfig(scale="none")).tolist() == [[0.5, -0.5, 0.0]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": 1}, r"advantage\.keep: 1 has no baseline; keep at least 2"),
        ({"scale": "mean", "overlong_share": 0.2}, r"advantage\.overlong_share: makes rewards negative"),
        ({"keep_by": "efficiency"}, r"advantage\.keep_by: has no effect without advantage\.keep"),
        ({"overlong_share": 1.5}, r"advantage\.overlong_share: 1\.5 is refused"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdvantageConfig(**settings)
