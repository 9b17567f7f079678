import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from raypipe.evaluation.metrics import classification_metrics, metrics_of
from raypipe.evaluation.predict import predict
from raypipe.evaluation.records import stamps
from raypipe.schemas import PREDICTIONS


def test_a_case_worked_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = [0, 0, 1, 1, 0, 1]
    metrics = classification_metrics(labels, np.eye(3, dtype=np.float32)[predicted])
    assert metrics.accuracy == 3 / 6
    assert metrics.precision == (2 / 3, 1 / 3, 0.0)
    assert metrics.recall == (2 / 3, 1 / 2, 0.0)
    assert metrics.f1 == pytest.approx((2 / 3, 2 / 5, 0.0))
    assert metrics.support == (3, 2, 1)
    assert metrics.confusion == ((2, 1, 0), (1, 1, 0), (0, 1, 0))


def test_a_label_that_is_not_among_the_tiles_keeps_its_column() -> None:
    metrics = classification_metrics(np.array([0, 0]), np.eye(4, dtype=np.float32)[[0, 3]])
    assert len(metrics.precision) == len(metrics.confusion) == 4


def test_logits_that_are_no_numbers_are_no_predictions() -> None:
    with pytest.raises(ValueError, match="1 of 2 predictions have logits that are not finite"):
        classification_metrics(np.array([0, 1]), np.array([[1, 0], [np.nan, 0]], dtype=np.float32))


def test_nothing_to_judge() -> None:
    with pytest.raises(ValueError, match="empty"):
        metrics_of(PREDICTIONS.empty_table())


def test_a_tile_counts_once() -> None:
    row = {"sample_id": "a", "group_id": "g", "label": 0, "model_key": "m", "tiles_key": "t", "logits": [1.0, 0.0]}
    with pytest.raises(ValueError, match="1 tiles are predicted more than once"):
        metrics_of(pa.Table.from_pylist([row, row], schema=PREDICTIONS))


def test_predictions_do_not_depend_on_the_batch_and_come_from_evaluation_mode() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    ).train()
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    whole = predict(model, images, 5, torch.device("cpu"))
    np.testing.assert_allclose(predict(model, images, 2, torch.device("cpu")), whole, rtol=1e-5, atol=1e-6)
    assert whole.shape == (5, 3)


@pytest.mark.parametrize(
    ("split", "leakage", "synthetic", "expected"),
    [
        ("group", 0.0, False, []),
        ("paper", 0.987, False, ["LEAKY: 98.7%"]),
        ("paper", None, False, ["LEAKY: random split; siblings are unknown"]),
        ("paper", 0.5, True, ["LEAKY: 50.0%", "SYNTHETIC"]),
    ],
)
def test_stamps(split: str, leakage: float | None, synthetic: bool, expected: list[str]) -> None:
    found = stamps({"split": split, "leakage": leakage, "synthetic": synthetic})
    assert len(found) == len(expected)
    assert all(stamp.startswith(start) for stamp, start in zip(found, expected, strict=True))
