import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, ttest_1samp

from raypipe.evaluation.statistics.intervals import (
    UNDEFINED,
    estimate_mean,
    estimate_means,
    estimate_ratio,
    group_tiles,
)

few = settings(max_examples=40, deadline=None)


@st.composite
def grouped_tiles(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    count = draw(st.integers(2, 60))
    groups = draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    hits = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return np.array(groups), np.array(hits)


def width(values: NDArray[np.bool_], groups: NDArray[np.int64]) -> float:
    _, low, high = estimate_mean(values, group_tiles(groups))
    return high - low


@few
@given(grouped_tiles())
def test_a_share_lies_within_its_interval_and_both_in_0_to_1(
    tiles: tuple[NDArray[np.int64], NDArray[np.bool_]],
) -> None:
    groups, hits = tiles
    value, low, high = estimate_mean(hits, group_tiles(groups))
    assert value == hits.mean()
    if len(set(groups.tolist())) > 1:
        assert 0 <= low <= value <= high <= 1
    else:
        assert np.isnan([low, high]).all()


@few
@given(grouped_tiles())
def test_one_more_wrong_tile_never_raises_a_bound(tiles: tuple[NDArray[np.int64], NDArray[np.bool_]]) -> None:
    groups, hits = tiles
    grouped = group_tiles(groups)
    before = estimate_mean(hits, grouped)
    for tile in np.flatnonzero(hits)[:4]:
        worse = estimate_mean(hits & (np.arange(len(hits)) != tile), grouped)
        assert not (np.array(worse) > np.array(before) + 1e-9).any()


@pytest.mark.parametrize("spread", [0.2, 1.0, 4.0])
def test_about_95_of_100_intervals_cover_the_truth_where_siblings_are_alike(spread: float) -> None:
    """Draw beta-binomial groups: the smaller the beta's parameters, the more similar the tiles of a group."""
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(80), 6)
    groups = group_tiles(ids)
    covered = 0
    for _ in range(500):
        hits = rng.random(len(ids)) < np.repeat(rng.beta(0.7 * spread, 0.3 * spread, 80), 6)
        _, low, high = estimate_mean(hits, groups)
        covered += low <= 0.7 <= high
    assert 0.93 <= covered / 500 <= 0.98


def test_siblings_counted_as_independent_would_feign_precision() -> None:
    rng = np.random.default_rng(0)
    hits = np.repeat(rng.random(50) < 0.6, 8)
    assert width(hits, np.repeat(np.arange(50), 8)) > 2 * width(hits, np.arange(400))


def test_more_groups_narrow_the_interval() -> None:
    hits = np.random.default_rng(0).random(4000) < 0.7
    widths = [width(hits[:count], np.arange(count) // 2) for count in (100, 600, 4000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] / widths[2] == pytest.approx(40**0.5, rel=0.3)


@pytest.mark.parametrize("groups", [2, 10, 300])
def test_where_all_agree_the_exact_bounds_of_the_groups_keep_the_doubt(groups: int) -> None:
    ids = np.repeat(np.arange(groups), 3)
    none, everything = np.zeros(len(ids), dtype=bool), np.ones(len(ids), dtype=bool)
    exact = binomtest(0, groups).proportion_ci()
    assert estimate_mean(none, group_tiles(ids)) == pytest.approx((0, exact.low, exact.high))
    assert estimate_mean(everything, group_tiles(ids)) == pytest.approx((1, 1 - exact.high, 1))


def test_a_mean_of_equal_groups_has_the_t_interval_of_their_means() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 5)) + rng.normal(size=(12, 1))
    ours = estimate_mean(values.ravel(), group_tiles(np.repeat(np.arange(12), 5)))
    theirs = ttest_1samp(values.mean(axis=1), 0).confidence_interval()
    assert ours == pytest.approx((values.mean(), theirs.low, theirs.high))


def test_a_mean_of_unequal_groups_covers_the_mean_of_all_tiles() -> None:
    rng = np.random.default_rng(0)
    sizes = np.resize([1, 2, 3, 6], 40)
    groups = group_tiles(np.repeat(np.arange(40), sizes))
    covered = 0
    for _ in range(400):
        values = np.repeat(rng.normal(size=40), sizes) + rng.normal(size=sizes.sum())
        _, low, high = estimate_mean(values, groups)
        covered += low <= 0 <= high
    assert 0.91 <= covered / 400 <= 0.98


def test_a_mean_keeps_to_the_range_of_its_figure() -> None:
    value, low, high = estimate_mean(np.array([0.1, 0.99, 0.99]), group_tiles(range(3)), least=0, most=1)
    assert (low, high) == (0, 1)
    assert value == pytest.approx(2.08 / 3)


def test_a_mean_without_spread_has_no_interval_rather_than_a_point() -> None:
    value, low, high = estimate_mean(np.full(6, 0.3), group_tiles([0, 0, 0, 1, 1, 2]))
    assert value == pytest.approx(0.3)
    assert np.isnan([low, high]).all()
    assert np.isnan(estimate_mean(np.array([0.3, 0.4]), group_tiles("aa"))[1:]).all(), "a single group"


def test_a_ratio_is_taken_of_the_sums() -> None:
    cancer = np.array([True, True, True, False, False])
    missed = np.array([True, False, False, True, False])
    groups = group_tiles([0, 0, 1, 1, 2])
    assert estimate_ratio(missed, cancer, groups).value == 1 / 3
    assert estimate_ratio(missed, cancer, groups) == estimate_mean(missed[cancer], group_tiles([0, 0, 1]))


def test_a_ratio_of_a_single_group_has_no_interval_however_many_there_are() -> None:
    only_first = np.arange(10) < 1
    value, low, high = estimate_ratio(only_first, only_first, group_tiles(range(10)))
    assert value == 1
    assert np.isnan([low, high]).all()


def test_a_ratio_to_nothing_is_undefined() -> None:
    nothing = np.zeros(4, dtype=bool)
    assert np.isnan(estimate_ratio(nothing, nothing, group_tiles(range(4)))).all()
    assert np.isnan(estimate_means(np.zeros((1, 4)), nothing[None], group_tiles(range(4)), 0, 1)).all()
    assert UNDEFINED.columns("x") == {"x": None, "x_low": None, "x_high": None}


@pytest.mark.parametrize(("ids", "message"), [([], "no tiles"), (["a", None], "1 of 2 tiles have no group")])
def test_tiles_without_groups_are_refused(ids: list[str | None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group_tiles(ids)
