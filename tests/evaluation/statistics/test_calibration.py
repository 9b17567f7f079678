import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve

from raypipe.evaluation.statistics.calibration import Calibration, compute_calibration
from raypipe.evaluation.statistics.intervals import group_tiles


def calibrated(confidences: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = 15) -> Calibration:
    return compute_calibration(confidences, correct, group_tiles(range(len(correct))), bins, replicates=200)


def test_a_case_worked_by_hand() -> None:
    found = calibrated(np.array([0.5, 0.9, 0.9, 1.0]), np.array([True, True, False, True]), bins=4)
    assert [bin_[:3] for bin_ in found.bins] == [(0.25, 0.5, 1), (0.75, 1, 3)]
    assert [bin_.confidence for bin_ in found.bins] == pytest.approx([0.5, 2.8 / 3])
    assert [bin_.accuracy.value for bin_ in found.bins] == pytest.approx([1, 2 / 3])
    assert found.error.value == pytest.approx(1 / 4 * 0.5 + 3 / 4 * (2.8 - 2) / 3)


def test_bins_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.34, 1, 800)
    correct = rng.random(800) < confidences**2
    found = calibrated(confidences, correct)
    accuracy, confidence = calibration_curve(correct, confidences, n_bins=15)
    assert [bin_.accuracy.value for bin_ in found.bins] == pytest.approx(accuracy)
    assert [bin_.confidence for bin_ in found.bins] == pytest.approx(confidence)
    shares = np.array([bin_.tiles for bin_ in found.bins]) / 800
    assert found.error.value == pytest.approx((shares * np.abs(accuracy - confidence)).sum())


def test_certainty_that_is_always_wrong_is_the_largest_error() -> None:
    found = calibrated(np.ones(20), np.zeros(20, dtype=bool))
    assert (found.error.value, found.error.high) == (1, 1)
    assert found.error.low == pytest.approx(1 - found.bins[-1].accuracy.high), "accuracy may be that high"
    assert found.bins[0].accuracy.value == 0


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(2, 50))
def test_the_error_lies_within_its_interval_and_both_in_0_to_1(data: st.DataObject, tiles: int) -> None:
    confidences = data.draw(hnp.arrays(np.float64, tiles, elements=st.floats(0, 1)))
    correct = data.draw(hnp.arrays(np.bool_, tiles))
    found = calibrated(confidences, correct)
    assert 0 <= found.error.low <= found.error.value <= found.error.high <= 1
    assert found.error.value >= abs(confidences.mean() - correct.mean()) - 1e-9
    assert sum(bin_.tiles for bin_ in found.bins) == tiles
    assert all(bin_.low <= bin_.confidence <= bin_.high + 1e-12 for bin_ in found.bins)


def test_the_interval_covers_the_error_of_an_overconfident_model() -> None:
    """Use a small error; a percentile interval, which counts the bias of noise twice, covers it in 53 of 100 cases."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 3)
    grouped = group_tiles(groups)
    covered = 0
    for _ in range(200):
        confidences = rng.uniform(0.5, 1, 300)
        error = compute_calibration(confidences, rng.random(300) < confidences - 0.05, grouped, replicates=300).error
        covered += error.low <= 0.05 <= error.high
    assert covered / 200 >= 0.85


def test_a_single_group_has_no_interval() -> None:
    error = compute_calibration(np.array([0.7, 0.9]), np.array([True, True]), group_tiles(["a", "a"])).error
    assert error.value == pytest.approx(0.2)
    assert np.isnan([error.low, error.high]).all()


@pytest.mark.parametrize("confidence", [-0.1, 1.1, np.nan])
def test_a_confidence_is_a_probability(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"expected numbers in \[0, 1\]"):
        calibrated(np.array([0.5, confidence]), np.array([True, True]))


def test_there_is_a_bin() -> None:
    with pytest.raises(ValueError, match="bins = 0"):
        calibrated(np.array([0.5, 0.6]), np.array([True, True]), bins=0)
