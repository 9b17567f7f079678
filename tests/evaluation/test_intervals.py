import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap

from raypipe.evaluation.intervals import mean, ratio, resample

few = settings(max_examples=40, deadline=None)


@st.composite
def grouped_tiles(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    count = draw(st.integers(2, 60))
    groups = draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    hits = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return np.array(groups), np.array(hits)


def width(values: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    _, low, high = mean(values, resample(groups))
    return high - low


@few
@given(grouped_tiles())
def test_a_share_lies_within_its_interval_and_both_in_0_to_1(
    tiles: tuple[NDArray[np.int64], NDArray[np.bool_]],
) -> None:
    groups, hits = tiles
    value, low, high = mean(hits, resample(groups, replicates=200))
    assert value == hits.mean()
    if len(set(groups.tolist())) > 1:
        assert 0 <= low <= high <= 1
    else:
        assert np.isnan(low)
        assert np.isnan(high)


def test_with_equal_groups_it_is_the_bootstrap_of_the_groups_means() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 5)) + rng.normal(size=(40, 1))
    ours = mean(values.ravel(), resample(np.repeat(np.arange(40), 5), replicates=20_000))
    theirs = bootstrap((values.mean(axis=1),), np.mean, n_resamples=20_000, method="percentile", rng=1)
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.015)


def test_unequal_groups_count_by_their_tiles() -> None:
    groups = np.repeat(np.arange(30), np.arange(1, 31))
    values = np.random.default_rng(0).normal(groups / 10)

    def weighted(sums: NDArray[np.float64], sizes: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.asarray(sums.sum(axis=axis) / sizes.sum(axis=axis))

    per_group = np.bincount(groups, values), np.bincount(groups).astype(float)
    theirs = bootstrap(per_group, weighted, n_resamples=20_000, paired=True, method="percentile", rng=1)
    ours = mean(values, resample(groups, replicates=20_000))
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)


@pytest.mark.parametrize("spread", [0.2, 1.0, 4.0])
def test_about_95_of_100_intervals_cover_the_truth_where_siblings_are_alike(spread: float) -> None:
    """Beta-binomial groups: the smaller the beta's parameters, the more alike its tiles."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(80), 6)
    resampling = resample(groups, replicates=500)
    covered = 0
    for _ in range(500):
        hits = rng.random(len(groups)) < np.repeat(rng.beta(0.7 * spread, 0.3 * spread, 80), 6)
        _, low, high = mean(hits, resampling)
        covered += low <= 0.7 <= high
    assert 0.915 <= covered / 500 <= 0.98


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
def test_where_all_agree_the_exact_bounds_keep_the_doubt(groups: int) -> None:
    ids = np.repeat(np.arange(groups), 3)
    none, everything = mean(np.zeros(len(ids), dtype=bool), resample(ids)), mean(np.ones(len(ids), bool), resample(ids))
    exact = binomtest(0, groups).proportion_ci()
    assert none == pytest.approx((0, exact.low, exact.high))
    assert everything == pytest.approx((1, 1 - exact.high, 1))


def test_the_same_groups_are_drawn_alike_in_any_order_and_other_groups_are_not() -> None:
    names = [f"tile-{number}" for number in range(20)]
    here, there = resample(names), resample(names[::-1] * 2)
    np.testing.assert_array_equal(here.weights, there.weights)
    np.testing.assert_array_equal(here.codes, there.codes[:20][::-1])
    others = resample([f"other-{number}" for number in range(20)]).weights
    assert abs(np.corrcoef(here.weights.ravel(), others.ravel())[0, 1]) < 0.02
    assert (here.weights != resample(names, seed=1).weights).any()


def test_each_replicate_draws_as_many_groups_as_there_are() -> None:
    weights = resample(range(17), replicates=300).weights
    assert weights.shape == (300, 17)
    np.testing.assert_array_equal(weights.sum(axis=1), 17)
    np.testing.assert_array_equal(weights, weights.round())


def test_a_ratio_is_taken_of_the_sums() -> None:
    cancer = np.array([True, True, True, False, False])
    missed = np.array([True, False, False, True, False])
    resampling = resample([0, 0, 1, 1, 2])
    assert ratio(missed & cancer, cancer, resampling).value == 1 / 3
    assert ratio(missed & cancer, cancer, resampling) == mean(missed[cancer], resampling.select(cancer))


def test_a_ratio_of_a_single_group_has_no_interval_however_many_there_are() -> None:
    only_first = np.arange(10) < 1
    value, low, high = ratio(only_first, only_first, resample(range(10)))
    assert value == 1
    assert np.isnan([low, high]).all()


def test_replicates_that_drew_nothing_to_count_are_left_out() -> None:
    counted = np.arange(12) < 2
    value, low, high = ratio(np.arange(12) == 0, counted, resample(range(12)))
    assert (value, low, high) == (0.5, 0, 1)


def test_a_ratio_to_nothing_is_undefined() -> None:
    nothing = np.zeros(4)
    assert np.isnan(ratio(nothing, nothing, resample(range(4)))).all()


@pytest.mark.parametrize(
    ("groups", "replicates", "message"),
    [([], 2000, "no tiles"), (["a", None], 2000, "1 of 2 tiles have no group"), (["a", "b"], 10, "at least 100")],
)
def test_what_cannot_be_resampled(groups: list[str | None], replicates: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resample(groups, replicates)
