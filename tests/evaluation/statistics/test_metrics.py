import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support
from torch import nn

from raypipe.base.predictions import NO_CLASS
from raypipe.evaluation.predict import predict
from raypipe.evaluation.statistics.intervals import Interval, estimate_mean, estimate_ratio, group_tiles
from raypipe.evaluation.statistics.metrics import (
    compute_chance_accuracy,
    compute_metrics,
    compute_metrics_of_models,
    predict_labels,
)


def figures(intervals: tuple[Interval, ...]) -> list[float]:
    return [interval.value for interval in intervals]


def test_a_case_worked_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = [0, 0, 1, 1, 0, 1]
    metrics = compute_metrics(labels, np.eye(3, dtype=np.float32)[predicted], range(6), malignant=(0, 2))
    assert metrics.accuracy.value == metrics.chance == 3 / 6
    assert figures(metrics.precision) == [2 / 3, 1 / 3, 0.0]
    assert figures(metrics.recall) == [2 / 3, 1 / 2, 0.0]
    assert figures(metrics.f1) == pytest.approx([2 / 3, 2 / 5, 0.0])
    assert metrics.support == (3, 2, 1)
    assert metrics.confusion == ((2, 1, 0), (1, 1, 0), (0, 1, 0))
    assert metrics.cancer_called_benign.value == 2 / 4
    assert metrics.benign_called_cancer.value == 1 / 2
    confidence = np.e / (np.e + 2)
    assert metrics.confidence.value == pytest.approx(confidence)
    assert metrics.loss.value == pytest.approx(-np.log(confidence) + 3 / 6)
    assert metrics.calibration_error.value == pytest.approx(confidence - 3 / 6)
    assert [bin_.tiles for bin_ in metrics.reliability] == [6]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_figures_are_scikit_learns(classes: int, tiles: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=tiles)
    logits = rng.normal(size=(tiles, classes)).astype(np.float32)
    metrics = compute_metrics(labels, logits, rng.integers(20, size=tiles))
    predicted, names = logits.argmax(axis=1), np.arange(classes)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=names, zero_division=0.0)
    assert metrics.accuracy.value == accuracy_score(labels, predicted)
    for ours, theirs in ((metrics.precision, precision), (metrics.recall, recall), (metrics.f1, f1)):
        assert figures(ours) == pytest.approx(np.where(support > 0, theirs, np.nan), nan_ok=True)
    assert list(metrics.support) == support.tolist()
    assert np.array_equal(metrics.confusion, confusion_matrix(labels, predicted, labels=names))
    assert metrics.loss.value == pytest.approx(log_loss(labels, softmax(logits.astype(float), axis=1), labels=names))
    shares = [metrics.accuracy, *metrics.precision, *metrics.recall, *metrics.f1, metrics.confidence]
    assert all(0 <= share.low <= share.high <= 1 for share in shares if not np.isnan(share.low))


def test_every_share_has_the_one_interval_of_shares() -> None:
    rng = np.random.default_rng(0)
    labels, ids = rng.integers(3, size=90), rng.integers(30, size=90)
    logits = rng.normal(size=(90, 3)) + 2 * np.eye(3)[labels]
    predicted, groups = logits.argmax(axis=1), group_tiles(ids)
    metrics = compute_metrics(labels, logits, ids, malignant=(0,))
    assert metrics.accuracy == pytest.approx(estimate_mean(predicted == labels, groups))
    for label in range(3):
        has, called = labels == label, predicted == label
        assert metrics.recall[label] == pytest.approx(estimate_ratio(called, has, groups))
        assert metrics.precision[label] == pytest.approx(estimate_ratio(has, called, groups))
        either = np.array(estimate_ratio(has & called, has | called, groups))
        assert metrics.f1[label] == pytest.approx(2 * either / (1 + either))
    assert metrics.cancer_called_benign == pytest.approx(estimate_ratio(predicted != 0, labels == 0, groups))
    assert metrics.benign_called_cancer == pytest.approx(estimate_ratio(predicted == 0, labels != 0, groups))


def test_no_figure_of_a_perfect_model_is_certain() -> None:
    labels = np.repeat([0, 1], 30)
    sure = compute_metrics(labels, np.eye(2, dtype=np.float32)[labels] * 60, np.arange(60) // 6, malignant=(0,))
    shares = [sure.accuracy, *sure.precision, *sure.recall, *sure.f1]
    assert all(share.value == share.high == 1 and share.low < 0.8 for share in shares)
    assert sure.cancer_called_benign.low == 0
    assert sure.cancer_called_benign.high > 0.3
    assert sure.calibration_error.value == pytest.approx(0)
    assert sure.calibration_error.high == pytest.approx(1 - sure.accuracy.low)
    assert np.isnan([*sure.loss[1:], *sure.confidence[1:]]).all(), "no spread, no interval"


def test_a_label_that_is_not_among_the_tiles_keeps_its_column() -> None:
    metrics = compute_metrics(np.array([0, 0]), np.eye(4, dtype=np.float32)[[0, 3]], range(2))
    assert len(metrics.precision) == len(metrics.confusion) == 4
    for by_label in (metrics.precision, metrics.recall, metrics.f1):
        assert np.isnan(by_label[1]).all(), "nothing is known of it, which is not 0"
    assert figures(metrics.recall)[:1] == [1 / 2]


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_tile_with_logits_that_are_no_numbers_is_misclassified_and_counted(poison: float) -> None:
    logits = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]] * 3
    labels = np.array([0, 1, 1, 0])
    logits[1, 0] = poison
    metrics = compute_metrics(labels, logits, range(4), malignant=(1,))
    assert predict_labels(logits).tolist() == [0, NO_CLASS, 1, 0]
    assert metrics.broken == 1
    assert metrics.accuracy.value == 3 / 4
    assert metrics.support == (2, 2)
    assert metrics.confusion == ((2, 0), (0, 1))
    assert figures(metrics.recall) == [1, 1 / 2]
    assert metrics.cancer_called_benign.value == 0
    assert metrics.loss.value == pytest.approx(np.log1p(np.exp(-3)))
    assert sum(bin_.tiles for bin_ in metrics.reliability) == 3


def test_a_model_that_breaks_on_every_tile_is_always_wrong() -> None:
    metrics = compute_metrics(np.array([0, 1]), np.full((2, 2), np.nan, dtype=np.float32), range(2))
    assert (metrics.broken, metrics.accuracy.value, metrics.reliability) == (2, 0, ())
    assert np.isnan([*metrics.loss, *metrics.confidence, *metrics.calibration_error]).all()


@pytest.mark.parametrize("malignant", [None, (), (0, 1)])
def test_without_both_kinds_none_is_taken_for_the_other(malignant: tuple[int, ...] | None) -> None:
    metrics = compute_metrics(np.array([0, 1]), np.eye(2, dtype=np.float32), range(2), malignant)
    assert np.isnan([*metrics.cancer_called_benign, *metrics.benign_called_cancer]).all()


@pytest.mark.parametrize(("labels", "malignant"), [([0, 2], None), ([0, 1], (2,)), ([0, -1], None)])
def test_a_label_has_a_logit(labels: list[int], malignant: tuple[int, ...] | None) -> None:
    with pytest.raises(ValueError, match=r"expected labels of the 2 logits, 0\.\.1"):
        compute_metrics(np.array(labels), np.eye(2, dtype=np.float32), range(2), malignant)


def test_columns_are_plain_and_what_is_undefined_is_null() -> None:
    labels, logits = np.array([0, 1, 1]), np.array([[1, 0], [3, 0], [0, 1]], dtype=np.float32)
    columns = compute_metrics(labels, logits, "ggg", malignant=(1,)).columns()
    assert pa.Table.from_pylist([columns]).to_pylist() == [columns | {
        "support": [1, 2], "confusion": [[1, 0], [1, 1]], "reliability": columns["reliability"]
    }]  # fmt: skip
    assert columns["accuracy"] == pytest.approx(2 / 3)
    assert columns["accuracy_low"] is columns["accuracy_high"] is None
    assert columns["recall"] == [1, 0.5]
    assert columns["recall_low"] == [None, None]
    assert columns["cancer_called_benign"] == 0.5
    assert set(columns["reliability"][0]) == {
        "low", "high", "tiles", "confidence", "accuracy", "accuracy_low", "accuracy_high"
    }  # fmt: skip
    assert compute_metrics(labels, logits, "ggg").columns()["cancer_called_benign"] is None


def test_chance_is_the_most_frequent_label() -> None:
    assert compute_chance_accuracy(np.array([0, 2, 2, 1])) == 0.5


def test_predictions_do_not_depend_on_the_batch_and_come_from_evaluation_mode() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    ).train()
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    whole = predict(model, images, 5, torch.device("cpu"))
    np.testing.assert_allclose(predict(model, images, 2, torch.device("cpu")), whole, rtol=1e-5, atol=1e-6)
    assert whole.shape == (5, 3)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 4), st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_models_together_have_the_figures_of_each_alone(classes: int, tiles: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(classes, size=tiles), rng.integers(max(1, tiles // 4), size=tiles)
    logits = rng.normal(size=(10, tiles, classes)).astype(np.float32)
    logits[rng.random((10, tiles)) < 0.2] = np.nan
    together = compute_metrics_of_models(labels, logits, group_tiles(groups), (0,), replicates=100)
    for figures, own in zip(together, logits, strict=True):
        alone = compute_metrics(labels, own, groups, (0,), replicates=100)
        assert figures.columns() == alone.columns()
