"""Advantages and the weighted sum, by hand and by invariance."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grpo_lightning import advantages
from grpo_lightning.advantages import AdvantageConfig, has_signal
from grpo_lightning.combine import weighted_sum

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
