"""Classification metrics of stored predictions (scikit-learn's, by label)."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


@dataclass(frozen=True)
class Metrics:
    """What a model makes of a set of tiles.

    Parameters
    ----------
    tiles
        How many there were.
    accuracy
        Share classified right, in [0, 1].
    precision, recall, f1, support
        By label; a label that was never predicted has precision 0, as in scikit-learn with ``zero_division=0``.
    confusion
        Rows are true labels, columns predictions.
    """

    tiles: int
    accuracy: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    support: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...]


def classification_metrics(labels: NDArray[np.int64], logits: NDArray[np.float32]) -> Metrics:
    """Metrics from true labels (n,) and logits (n, classes).

    Raises
    ------
    ValueError
        If a logit is not a finite number.
    """
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits)).any(axis=1).sum())
        raise ValueError(f"{bad} of {len(labels)} predictions have logits that are not finite: the model is broken")
    classes = np.arange(logits.shape[1])
    predicted = logits.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0.0
    )
    return Metrics(
        tiles=len(labels),
        accuracy=float((predicted == labels).mean()),
        precision=tuple(map(float, precision)),
        recall=tuple(map(float, recall)),
        f1=tuple(map(float, f1)),
        support=tuple(map(int, support)),
        confusion=tuple(tuple(map(int, row)) for row in confusion_matrix(labels, predicted, labels=classes)),
    )


def metrics_of(predictions: pa.Table) -> Metrics:
    """Metrics of a predictions table.

    Raises
    ------
    ValueError
        If there is nothing to judge, a tile was predicted twice, or a logit is not a finite number.
    """
    if predictions.num_rows == 0:
        raise ValueError("no predictions to compute metrics from: the table is empty")
    ids = predictions["sample_id"].to_numpy()
    if len(np.unique(ids)) != len(ids):
        raise ValueError(f"{len(ids) - len(np.unique(ids))} tiles are predicted more than once")
    logits = np.array(predictions["logits"].to_pylist(), dtype=np.float32).reshape(len(ids), -1)
    return classification_metrics(predictions["label"].to_numpy(), logits)
