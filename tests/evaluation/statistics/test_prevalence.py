import numpy as np
import pytest

from raypipe.evaluation.statistics.intervals import estimate_mean, group_tiles
from raypipe.evaluation.statistics.prevalence import reweight_accuracy

TEST_SET = np.repeat([0, 1], [90, 10])


def test_recalls_are_weighted_and_their_bounds_combined() -> None:
    labels, ids = np.repeat([0, 1], 30), np.arange(60) // 3
    right = np.r_[np.arange(30) >= 3, np.arange(30) >= 15]
    value, low, high = reweight_accuracy(right, labels, TEST_SET, group_tiles(ids))
    assert value == pytest.approx(0.9 * 0.9 + 0.1 * 0.5)
    common, rare = (estimate_mean(right[labels == label], group_tiles(ids[labels == label])) for label in (0, 1))
    assert value - low == pytest.approx(np.hypot(0.9 * (0.9 - common.low), 0.1 * (0.5 - rare.low)))
    assert high - value == pytest.approx(np.hypot(0.9 * (common.high - 0.9), 0.1 * (rare.high - 0.5)))


def test_a_perfect_model_is_not_certain_and_a_class_of_one_group_may_have_any_recall() -> None:
    labels, right = np.repeat([0, 1], [12, 3]), np.ones(15, dtype=bool)
    value, low, high = reweight_accuracy(right, labels, TEST_SET, group_tiles(np.arange(15) // 3))
    assert (value, high) == (1, 1)
    assert low < 0.5
    assert np.isnan(reweight_accuracy(right, labels, TEST_SET, group_tiles(["one"] * 15))[1:]).all()


def test_equal_shares_give_the_accuracy_and_a_class_without_tiles_nothing() -> None:
    labels, groups = np.repeat([0, 1], [18, 2]), group_tiles(range(20))
    right = np.arange(20) % 4 > 0
    assert reweight_accuracy(right, labels, TEST_SET, groups) == estimate_mean(right, groups)
    assert np.isnan(reweight_accuracy(right, np.zeros(20, dtype=np.int64), TEST_SET, groups)).all()
