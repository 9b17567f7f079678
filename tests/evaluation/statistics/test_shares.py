import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from raypipe.evaluation.statistics.shares import share_bounds

few = settings(max_examples=60, deadline=None)
NOISE = 1e-9
Counts = NDArray[np.float64]


@st.composite
def grouped_counts(draw: st.DrawFn) -> tuple[Counts, Counts]:
    """Draw correct tiles and tiles of some groups of any sizes; many groups are all correct or all wrong."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=10))
    right = [draw(st.sampled_from([0, size]) | st.integers(0, size)) for size in sizes]
    return np.array(right, dtype=float), np.array(sizes, dtype=float)


def bounds(right: Counts, tiles: Counts) -> tuple[float, float]:
    low, high = share_bounds(right[:, None], tiles[:, None])
    return float(low[0]), float(high[0])


def exact(right: int, tiles: int) -> tuple[float, float]:
    interval = binomtest(right, tiles).proportion_ci()
    return float(interval.low), float(interval.high)


@few
@given(grouped_counts())
def test_one_more_wrong_tile_never_raises_a_bound(data: tuple[Counts, Counts]) -> None:
    right, tiles = data
    low, high = bounds(right, tiles)
    for group in np.flatnonzero(right):
        worse = right.copy()
        worse[group] -= 1
        low_of_worse, high_of_worse = bounds(worse, tiles)
        assert low_of_worse <= low + NOISE
        assert high_of_worse <= high + NOISE


@few
@given(grouped_counts(), st.randoms(use_true_random=False))
def test_laws_of_an_interval(data: tuple[Counts, Counts], random: object) -> None:
    right, tiles = data
    low, high = bounds(right, tiles)
    assert 0 <= low <= right.sum() / tiles.sum() <= high <= 1
    assert bounds(tiles - right, tiles) == pytest.approx((1 - high, 1 - low)), "right and wrong can be exchanged"
    order = list(range(len(tiles)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert bounds(right[order], tiles[order]) == pytest.approx((low, high), abs=NOISE)
    padded = bounds(np.append(right, 0), np.append(tiles, 0))
    assert padded == pytest.approx((low, high), abs=NOISE), "a group without tiles does not count"
    independent = exact(int(right.sum()), int(tiles.sum()))
    assert low <= independent[0] + NOISE, "never narrower than tiles as independent trials"
    assert high >= independent[1] - NOISE


@pytest.mark.parametrize("groups", [8, 20, 100])
@pytest.mark.parametrize("missed", [0, 1, 3, 8])
def test_single_tiles_have_the_exact_interval(groups: int, missed: int) -> None:
    right = (np.arange(groups) >= missed).astype(float)
    assert bounds(right, np.ones(groups)) == pytest.approx(exact(groups - missed, groups))


def test_with_no_error_groups_are_the_trials_and_one_error_widens() -> None:
    """Use 20 groups of 6, for which a bootstrap gave [83.2, 100] without an error, and [97.5, 100] with one."""
    tiles = np.full(20, 6.0)
    assert bounds(tiles, tiles) == pytest.approx(exact(20, 20))
    one_wrong = tiles - (np.arange(20) == 0)
    low, high = bounds(one_wrong, tiles)
    assert low == pytest.approx(0.817, abs=0.001)
    assert exact(119, 120)[1] <= high < 1


def test_siblings_that_agree_count_once_and_siblings_that_do_not_count_each() -> None:
    tiles = np.full(100, 6.0)
    agreeing, mixed = np.where(np.arange(100) < 70, 6.0, 0.0), np.resize([5.0, 4, 4, 4, 4, 4.0], 100)
    low, high = bounds(agreeing, tiles)
    assert (low, high) == pytest.approx(exact(70, 100), abs=0.01)
    low, high = bounds(mixed, tiles)
    assert (low, high) == pytest.approx(exact(int(mixed.sum()), 600), abs=0.01)


def test_shares_together_are_those_apart_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 5, (12, 40)).astype(float)
    right = rng.binomial(tiles.astype(int), 0.8).astype(float)
    together = np.array(share_bounds(right, tiles))
    apart = np.array([bounds(*pair) for pair in zip(right.T, tiles.T, strict=True)]).T
    np.testing.assert_allclose(together, apart, atol=1e-12)
    monkeypatch.setattr("raypipe.evaluation.statistics.shares._CHUNK", 50)
    np.testing.assert_allclose(share_bounds(right, tiles), together, atol=1e-12)


def test_a_single_group_has_no_bounds() -> None:
    assert np.isnan(bounds(np.array([3.0, 0.0]), np.array([4.0, 0.0]))).all()


@pytest.mark.parametrize("right", [-1.0, 3.0])
def test_a_group_has_no_more_right_tiles_than_tiles(right: float) -> None:
    with pytest.raises(ValueError, match="between 0 and as many tiles"):
        bounds(np.array([right, 1.0]), np.array([2.0, 2.0]))


@few
@given(st.lists(st.lists(st.integers(0, 7), min_size=9, max_size=9), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_the_bounds_of_a_share_do_not_depend_on_the_other_shares(sizes: list[list[int]], seed: int) -> None:
    tiles = np.array(sizes, dtype=float).T
    right = np.random.default_rng(seed).binomial(tiles.astype(int), 0.7).astype(float)
    together = np.array(share_bounds(right, tiles)).T
    alone = [bounds(right[:, share], tiles[:, share]) for share in range(len(sizes))]
    assert np.array_equal(together, alone, equal_nan=True)
