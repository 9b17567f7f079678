import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.stats import binomtest

from raypipe.evaluation.comparison import compare, over_seeds, unpaired_difference
from raypipe.evaluation.intervals import Interval, mean, resample

outcomes = hnp.arrays(np.bool_, st.tuples(st.just(2), st.integers(3, 40)))
few = settings(max_examples=40, deadline=None)


def width(interval: Interval) -> float:
    return interval.high - interval.low


@few
@given(outcomes)
def test_a_model_does_not_differ_from_itself(both: NDArray[np.bool_]) -> None:
    assert compare(both[0], both[0], resample(range(both.shape[1]))) == ((0, 0, 0), 0, 0, 1)


@few
@given(outcomes)
def test_exchanging_the_models_turns_the_difference_round(both: NDArray[np.bool_]) -> None:
    first, second = both
    resampling = resample(np.arange(both.shape[1]) // 2)
    there, back = compare(first, second, resampling), compare(second, first, resampling)
    assert there.difference == pytest.approx((-back.difference.value, -back.difference.high, -back.difference.low))
    assert (there.only_first, there.only_second) == (back.only_second, back.only_first)
    assert there.p_value == pytest.approx(back.p_value)
    assert -1 <= there.difference.low <= there.difference.high <= 1
    assert there.difference.value == pytest.approx(first.mean() - second.mean())


def test_mcnemars_exact_test_worked_by_hand() -> None:
    """8 discordant tiles, 7 to 1: twice (1 + 8) / 2^8."""
    first = np.array([True] * 7 + [False] + [True] * 12)
    second = np.array([False] * 7 + [True] + [True] * 12)
    found = compare(first, second, resample(range(20)))
    assert (found.only_first, found.only_second) == (7, 1)
    assert found.p_value == pytest.approx(2 * 9 / 256)
    assert found.difference.value == pytest.approx(0.3)


@few
@given(outcomes.filter(lambda both: (both[0] != both[1]).any()))
def test_mcnemars_exact_test_is_the_binomial_one_on_discordant_tiles(both: NDArray[np.bool_]) -> None:
    found = compare(*both, resample(range(both.shape[1])))
    expected = binomtest(found.only_first, found.only_first + found.only_second).pvalue
    assert found.p_value == pytest.approx(expected)


def test_pairing_sees_what_two_separate_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    first = rng.random(400) < 0.7
    second = first & (rng.random(400) < 0.95)
    resampling = resample(range(400))
    found = compare(first, second, resampling)
    assert mean(first, resampling).low < mean(second, resampling).high
    assert found.difference.low > 0
    assert found.p_value < 0.01
    apart = unpaired_difference(first, resampling, second, resample(range(400, 800)))
    assert apart.value == pytest.approx(found.difference.value)
    assert width(apart) > 2 * width(found.difference)


def test_an_unpaired_difference_adds_the_variances() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(900) < 0.8, rng.random(400) < 0.6
    here, there = resample([f"a{tile // 3}" for tile in range(900)]), resample([f"b{tile}" for tile in range(400)])
    difference = unpaired_difference(first, here, second, there)
    assert width(difference) == pytest.approx(np.hypot(width(mean(first, here)), width(mean(second, there))), rel=0.1)


def test_one_group_says_nothing_about_others() -> None:
    one, several = resample(["a"] * 3), resample(range(3))
    right = np.array([True, False, True])
    assert np.isnan(compare(right, ~right, one).difference[1:]).all()
    assert np.isnan(unpaired_difference(right, several, right, one)[1:]).all()


def test_only_the_same_tiles_are_paired() -> None:
    with pytest.raises(ValueError, match="2 and 3 tiles"):
        compare(np.ones(2, dtype=bool), np.ones(3, dtype=bool), resample(range(2)))


def test_replicates_pair_off() -> None:
    with pytest.raises(ValueError, match="200 and 100 replicates"):
        unpaired_difference(np.ones(2), resample(range(2), 200), np.ones(2), resample(range(2), 100))


def test_spread_over_seeds() -> None:
    assert over_seeds([0.8, 0.9, 1.0]) == pytest.approx((0.9, 0.1, 3))
    assert over_seeds([0.8]) == pytest.approx((0.8, np.nan, 1), nan_ok=True)
    with pytest.raises(ValueError, match="one for each seed"):
        over_seeds([])
