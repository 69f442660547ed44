"""Statistics: against enumeration, closed forms and exact tests."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from grpo_lightning import statistics
from grpo_lightning.statistics import FLIPS, compare, intervals, pass_at_k


@pytest.mark.parametrize("n", range(1, 7))
def test_pass_at_k_is_the_share_of_all_subsets_that_hold_a_right_sample(n: int) -> None:
    for c in range(n + 1):
        right = np.array([1.0] * c + [0.0] * (n - c))
        for k in range(1, n + 1):
            subsets = list(combinations(right, k))
            assert pass_at_k(right, k) == pytest.approx(sum(max(subset) for subset in subsets) / len(subsets))


def test_pass_at_k_of_many_samples_does_not_overflow() -> None:
    """1 - C(9,990, 100) / C(10,000, 100)."""
    right = np.zeros(10_000)
    right[:10] = 1
    assert pass_at_k(right, 100) == pytest.approx(1 - comb(9_990, 100) / comb(10_000, 100))


def test_samples_without_a_score_are_left_out_and_too_few_give_nothing() -> None:
    """Of 1, 0, 0 two drawn hold the 1 in two of three pairs."""
    right = np.array([1.0, np.nan, 0.0, 0.0])
    assert pass_at_k(right, 2) == pytest.approx(2 / 3)
    assert np.isnan(pass_at_k(right, 4))
    assert np.isnan(pass_at_k(right, 0))


def test_an_interval_is_as_wide_as_the_mean_is_uncertain() -> None:
    """Of 400 coins, half of them heads: 0.5 ± 1.96 · 0.5 / 20 = 0.451 – 0.549."""
    values = np.array([[0.0], [1.0]] * 200)
    ((low, high),) = intervals(values, seed=0)
    assert (low, high) == (pytest.approx(0.451, abs=0.006), pytest.approx(0.549, abs=0.006))
    ((narrow, wide),) = intervals(values, seed=0, confidence=0.5)
    assert (narrow, wide) == (pytest.approx(0.483, abs=0.006), pytest.approx(0.517, abs=0.006))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """300 experiments of 60 draws with mean 0.3: 95 % of intervals hold it, less 3 deviations of 1.26 %."""
    rng = np.random.default_rng(0)
    held = 0
    for experiment in range(300):
        ((low, high),) = intervals((rng.random((60, 1)) < 0.3).astype(float), seed=experiment, resamples=500)
        held += low <= 0.3 <= high
    assert held / 300 >= 0.95 - 3 * 0.0126


def test_columns_are_resampled_alike_and_what_does_not_apply_is_left_out() -> None:
    rng = np.random.default_rng(0)
    column = rng.random(50)
    holes = np.where(np.arange(50) % 2 == 0, column, np.nan)
    nothing = np.full(50, np.nan)
    bounds = intervals(np.stack([column, column + 1, holes, nothing], axis=1), seed=3)
    np.testing.assert_allclose(bounds[1], bounds[0] + 1)
    assert bounds[2, 0] < np.nanmean(holes) < bounds[2, 1]
    assert bounds[2, 1] - bounds[2, 0] > bounds[0, 1] - bounds[0, 0]  # half as many prompts
    assert np.isnan(bounds[3]).all()
    assert np.isnan(intervals(np.zeros((0, 2)), seed=0)).all()


def test_how_much_is_drawn_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((20, 3))
    whole = intervals(values, seed=1)
    monkeypatch.setattr(statistics, "CHUNK", 7 * 20)
    np.testing.assert_array_equal(intervals(values, seed=1), whole)


def test_of_shares_the_paired_test_is_mcnemars() -> None:
    """8 prompts changed, all for the better: both signs alike with chance 2 / 2^8 = 0.0078."""
    first = np.zeros(40)
    second = np.where(np.arange(40) < 8, 1.0, 0.0)
    found = compare(first, second)
    deviation = np.sqrt(0.0078 * 0.9922 / FLIPS)
    assert found.p == pytest.approx(2 / 2**8, abs=4 * deviation)
    assert (found.prompts, found.higher, found.lower) == (40, 8, 0)
    assert (found.first, found.second, found.difference) == (0.0, 0.2, 0.2)
    assert 0 < found.low < 0.2 < found.high < 1


def test_a_difference_that_cancels_says_nothing() -> None:
    change = np.array([1.0, -1.0] * 5)
    assert compare(np.zeros(10), change).p == 1.0
    assert compare(np.ones(10), np.ones(10)).p == 1.0


def test_equal_sums_are_equal_though_they_are_rounded() -> None:
    """In tenths these add up to 0, and no flip gives less than that; as floats they add up to 5.6e-17."""
    assert compare(np.zeros(7), np.array([-0.1, 0.3, -0.2, -0.2, 0.3, 0.3, -0.4])).p == 1.0


def test_comparing_the_other_way_round_turns_the_sign_only() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(30), rng.random(30) + 0.1
    there, back = compare(one, other), compare(other, one)
    assert back.difference == pytest.approx(-there.difference)
    assert (back.low, back.high) == (pytest.approx(-there.high), pytest.approx(-there.low))
    assert back.p == there.p


def test_pairs_tell_more_than_two_means() -> None:
    """Every prompt a little better, where prompts differ much: of 30 equal signs the chance is 2 / 2^30."""
    hard = np.linspace(0, 1, 30)
    found = compare(hard, hard + 0.01)
    assert found.p == pytest.approx(1 / (FLIPS + 1))
    assert found.low == pytest.approx(0.01)


def test_only_prompts_that_both_measured_count() -> None:
    found = compare(np.array([0.0, np.nan, 1.0]), np.array([1.0, 1.0, np.nan]))
    assert (found.prompts, found.difference) == (1, 1.0)
    nothing = compare(np.array([np.nan]), np.array([1.0]))
    assert (nothing.prompts, nothing.p) == (0, 1.0)
    assert np.isnan(nothing.difference)
