"""A small part of `python -m benchmarks.coverage`, with a seed, so that its figures are equal every time."""

import numpy as np
import pytest

from benchmarks.coverage import (
    LEAST,
    SIZES,
    Row,
    draw_beta,
    draw_copies,
    simulate_paired,
    simulate_shares,
    simulate_tests,
    simulate_unpaired,
    summarize,
)


@pytest.mark.parametrize("draw", [draw_beta, draw_copies])
@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_simulated_tiles_have_the_share_and_the_correlation(draw: object, correlation: float) -> None:
    """Check that two tiles of a group are both correct with a chance of p (p + correlation (1 - p))."""
    rng = np.random.default_rng(0)
    right, wrong = draw(rng, (0.7, 0.3), correlation, np.full(50, 2), 400)  # type: ignore[operator]
    assert (right + wrong == 2).all()
    assert right.mean() / 2 == pytest.approx(0.7, abs=0.01)
    assert (right == 2).mean() == pytest.approx(0.7 * (0.7 + 0.3 * correlation), abs=0.01)


def test_intervals_of_shares_hold_the_truth_and_a_bootstraps_do_not() -> None:
    rows = list(simulate_shares(300, shares=(0.7, 0.97), groups=(8, 20)))
    assert len(rows) == 2 * 2 * (1 + 2 * 6 * (len(SIZES) - 1))
    assert min(row.coverage for row in rows) >= LEAST - 0.02, "300 data sets a case: chance takes 2 points"
    assert np.mean([row.coverage for row in rows]) >= 0.95
    assert min(row.other_coverage or 0 for row in rows) < 0.6


def test_intervals_of_differences_hold_the_truth() -> None:
    paired = list(simulate_paired(300, pairs=((0.0, 0.0), (0.05, 0.05), (0.45, 0.45), (0.9, 0.02)), groups=(8, 20)))
    unpaired = list(simulate_unpaired(300, pairs=((0.5, 0.5), (0.97, 0.5), (1.0, 0.0))))
    for rows in (paired, unpaired):
        assert min(row.coverage for row in rows) >= LEAST - 0.02
        assert min(row.width or 0 for row in rows) > 0


def test_the_permutation_test_keeps_its_level_and_mcnemars_does_not() -> None:
    rows = list(simulate_tests(400, groups=(40,)))
    assert max(row.coverage for row in rows) <= 0.07
    assert max(row.other_coverage or 0 for row in rows) > 0.25
    assert {row.holds for row in rows} == {True}


def test_a_case_that_does_not_hold_is_told() -> None:
    low = Row("share", "copies", 8, "6", 0.5, (0.9,), 0.92, 0.3, 0.8, 0.2)
    assert not low.holds
    assert not low._replace(figure="test", coverage=0.08).holds
    assert summarize([low]).row_count == 1
