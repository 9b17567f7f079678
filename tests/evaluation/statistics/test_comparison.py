import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.stats import binomtest

from raypipe.evaluation.statistics.comparison import compare, compare_unpaired, summarize_over_seeds
from raypipe.evaluation.statistics.intervals import Interval, estimate_mean, group_tiles

outcomes = hnp.arrays(np.bool_, st.tuples(st.just(2), st.integers(3, 40)))
few = settings(max_examples=40, deadline=None)


def width(interval: Interval) -> float:
    return interval.high - interval.low


@few
@given(outcomes)
def test_a_model_does_not_differ_from_itself_as_far_as_is_known(both: NDArray[np.bool_]) -> None:
    tiles = both.shape[1]
    found = compare(both[0], both[0], group_tiles(range(tiles)))
    assert found[1:] == (0, 0, 1)
    most = binomtest(0, tiles).proportion_ci().high
    assert found.difference == pytest.approx((0, -most, most)), "as often may either be right alone"


@few
@given(outcomes)
def test_exchanging_the_models_turns_the_difference_round(both: NDArray[np.bool_]) -> None:
    first, second = both
    groups = group_tiles(np.arange(both.shape[1]) // 2)
    there, back = compare(first, second, groups), compare(second, first, groups)
    assert there.difference == pytest.approx((-back.difference.value, -back.difference.high, -back.difference.low))
    assert (there.only_first, there.only_second) == (back.only_second, back.only_first)
    assert there.p_value == pytest.approx(back.p_value)
    assert there.difference.value == pytest.approx(first.mean() - second.mean())


@few
@given(outcomes)
def test_no_difference_is_certain(both: NDArray[np.bool_]) -> None:
    first, second = both
    tiles = len(first)
    here, there = group_tiles(np.arange(tiles) // 2), group_tiles(range(tiles))
    for found in (compare(first, second, here).difference, compare_unpaired(first, here, second, there)):
        assert -1 <= found.low <= found.value <= found.high <= 1
        assert width(found) > 0.05


@pytest.mark.parametrize(("first", "second", "value"), [(1, 1, 0), (0, 0, 0), (1, 0, 1), (0, 1, -1)])
def test_where_all_tiles_agree_an_interval_is_left(first: int, second: int, value: int) -> None:
    """Use 20 groups of one tile, for which a bootstrap gave [0, 0], [1, 1] and [-1, -1]."""
    groups, others = group_tiles(range(20)), group_tiles(range(20, 40))
    right = np.full(20, bool(first)), np.full(20, bool(second))
    found = (compare(*right, groups).difference, compare_unpaired(right[0], groups, right[1], others))
    for difference in found:
        assert difference.value == value
        assert 0.15 < width(difference) < 0.5


def test_the_test_worked_by_hand() -> None:
    """Check 7 single tiles to 1, twice (1 + 8) / 2^8, and 4 groups with 2, 2, 2 and 1 to 1 tiles, 2 / 2^3."""
    first = np.array([True] * 7 + [False] + [True] * 12)
    second = np.array([False] * 7 + [True] + [True] * 12)
    found = compare(first, second, group_tiles(range(20)))
    assert (found.only_first, found.only_second) == (7, 1)
    assert found.p_value == pytest.approx(2 * 9 / 256)
    assert found.difference.value == pytest.approx(0.3)
    assert compare(first, second, group_tiles(np.arange(20) // 2)).p_value == pytest.approx(2 / 2**3)


def test_pairing_sees_what_two_separate_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    first = rng.random(400) < 0.7
    second = first & (rng.random(400) < 0.95)
    groups = group_tiles(range(400))
    found = compare(first, second, groups)
    assert estimate_mean(first, groups).low < estimate_mean(second, groups).high
    assert found.difference.low > 0
    assert found.p_value < 0.01
    apart = compare_unpaired(first, groups, second, group_tiles(range(400, 800)))
    assert apart.value == pytest.approx(found.difference.value)
    assert width(apart) > 2 * width(found.difference)


def test_an_unpaired_difference_adds_the_variances() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(900) < 0.8, rng.random(400) < 0.6
    here, there = group_tiles([f"a{tile // 3}" for tile in range(900)]), group_tiles(range(400))
    difference = compare_unpaired(first, here, second, there)
    assert width(difference) == pytest.approx(
        np.hypot(width(estimate_mean(first, here)), width(estimate_mean(second, there))), rel=0.02
    )


def test_one_group_says_nothing_about_others() -> None:
    one, several = group_tiles(["a"] * 3), group_tiles(range(3))
    right = np.array([True, False, True])
    assert np.isnan(compare(right, ~right, one).difference[1:]).all()
    assert np.isnan(compare_unpaired(right, several, right, one)[1:]).all()


def test_only_the_same_tiles_are_paired() -> None:
    with pytest.raises(ValueError, match="2 and 3 tiles"):
        compare(np.ones(2, dtype=bool), np.ones(3, dtype=bool), group_tiles(range(2)))


def test_spread_over_seeds() -> None:
    assert summarize_over_seeds([0.8, 0.9, 1.0]) == pytest.approx((0.9, 0.1, 3))
    assert summarize_over_seeds([0.8]) == pytest.approx((0.8, np.nan, 1), nan_ok=True)
    with pytest.raises(ValueError, match="one for each seed"):
        summarize_over_seeds([])
