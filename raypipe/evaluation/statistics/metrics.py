"""Classification metrics of stored predictions, each with its 95 % interval."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from raypipe.evaluation.statistics.calibration import REPLICATES, Bin, calibration
from raypipe.evaluation.statistics.intervals import UNDEFINED, Interval, group_tiles, mean, ratios

NO_LABEL = -1
"""The prediction for a tile whose logits are not all finite: it is misclassified, whatever its label."""


@dataclass(frozen=True)
class Metrics:
    """What a model makes of a set of tiles.

    Parameters
    ----------
    tiles
        How many there were.
    groups
        How many source tiles or patients they come from. With fewer than two, no figure has an interval.
    broken
        Tiles whose logits are not all finite. They are misclassified and have no confidence: a model that has any is
        broken, and its figures are to be read so.
    accuracy
        Share classified right.
    chance
        The accuracy of always naming the commonest label.
    precision, recall, f1, support
        By label; NaN for a label without tiles. As in scikit-learn with ``zero_division=0``, the precision of a label
        that has tiles and is never predicted is 0, without an interval.
    confusion
        Rows are true labels, columns predictions; broken tiles are in no column.
    cancer_called_benign, benign_called_cancer
        Shares of the malignant tiles given a benign label, and of the benign tiles given a malignant one. Undefined
        where there are no such tiles, or it is not known that some labels are malignant and some are not.
    loss
        Mean negative log-likelihood of the true label, in nats.
    confidence
        Mean probability of the predicted label.
    calibration_error
        Expected calibration error; see `raypipe.evaluation.statistics.calibration`.
    reliability
        The bins behind it. Like loss and confidence, without the broken tiles.
    """

    tiles: int
    groups: int
    broken: int
    accuracy: Interval
    chance: float
    precision: tuple[Interval, ...]
    recall: tuple[Interval, ...]
    f1: tuple[Interval, ...]
    support: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...]
    cancer_called_benign: Interval
    benign_called_cancer: Interval
    loss: Interval
    confidence: Interval
    calibration_error: Interval
    reliability: tuple[Bin, ...]

    def columns(self) -> dict[str, Any]:
        """The fields for a table: `x`, `x_low` and `x_high` for each interval x, None for what is undefined."""
        return _flat({field.name: getattr(self, field.name) for field in fields(self)})


def predicted_labels(logits: NDArray[np.floating]) -> NDArray[np.int64]:
    """The label of the largest logit, (n,), from logits (n, classes); `NO_LABEL` where not all of them are finite."""
    return np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), NO_LABEL)


def chance_accuracy(labels: NDArray[np.integer]) -> float:
    """The accuracy of always naming the commonest label: clean or attacked, what a model without any knowledge has.

    No attack can lower it, so a robust accuracy at or below it is no robustness.
    """
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def classification_metrics(
    labels: NDArray[np.int64],
    logits: NDArray[np.float32],
    groups: Iterable[object],
    malignant: tuple[int, ...] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Metrics:
    """Metrics from true labels and logits.

    Parameters
    ----------
    labels
        (n,) in [0, classes).
    logits
        (n, classes).
    groups
        (n,) each tile's source tile or patient.
    malignant
        Which labels are; None if that is unknown or makes no sense.
    replicates, seed
        Number of replicates, and seed, of the calibration error's bootstrap: see
        `raypipe.evaluation.statistics.calibration`.

    Raises
    ------
    ValueError
        There are no tiles, a tile has no group, or a label has no logit.

    Notes ----- Shares have the intervals of `raypipe.evaluation.statistics.shares`. F1 is 2 s / (1 + s), where s is the
    share of hits among the tiles that have the label or are given it; its bounds are those of s, converted. Loss and
    confidence have Student t intervals over groups.
    """
    classes = logits.shape[1]
    if named := set(labels.tolist()).union(malignant or ()) - set(range(classes)):
        raise ValueError(f"labels {sorted(named)}: expected labels of the {classes} logits, 0..{classes - 1}")
    grouped = group_tiles(groups)
    predicted = predicted_labels(logits)
    # The last column is that of broken tiles.
    cells = grouped.tally(labels * (classes + 1) + predicted % (classes + 1), classes * (classes + 1))
    confusion = cells.reshape(-1, classes, classes + 1)
    (accuracy, *by_label), (missed, alarmed) = _shares(confusion, malignant)
    sound = predicted != NO_LABEL
    counted = grouped.select(sound)
    log_probabilities = log_softmax(logits[sound].astype(np.float64), axis=1)
    confidences = np.exp(log_probabilities.max(axis=1))
    calibrated = calibration(confidences, (predicted == labels)[sound], counted, replicates=replicates, seed=seed)
    return Metrics(
        tiles=len(labels),
        groups=grouped.count,
        broken=int((~sound).sum()),
        accuracy=accuracy,
        chance=chance_accuracy(labels),
        precision=tuple(by_label[:classes]),
        recall=tuple(by_label[classes : 2 * classes]),
        f1=tuple(by_label[2 * classes :]),
        support=tuple(np.bincount(labels, minlength=classes).tolist()),
        confusion=tuple(map(tuple, confusion[:, :, :classes].sum(axis=0).astype(int).tolist())),
        cancer_called_benign=missed,
        benign_called_cancer=alarmed,
        loss=mean(-log_probabilities[np.arange(len(log_probabilities)), labels[sound]], counted, least=0),
        confidence=mean(confidences, counted, least=0, most=1),
        calibration_error=calibrated.error,
        reliability=calibrated.bins,
    )


def _shares(
    confusion: NDArray[np.float64], malignant: tuple[int, ...] | None
) -> tuple[list[Interval], tuple[Interval, Interval]]:
    """Take all shares at once from each group's confusion.

    Parameters
    ----------
    confusion
        (groups, labels, labels + 1).
    malignant
        Labels; None if unknown.

    Returns
    -------
    tuple
        Accuracy, then the labels' precision, recall and F1; and malignant tiles called benign, benign ones malignant.
    """
    right = np.diagonal(confusion, axis1=1, axis2=2)
    called, support = confusion.sum(axis=1)[:, :-1], confusion.sum(axis=2)
    is_malignant = np.isin(np.arange(confusion.shape[1]), malignant or ())
    kinds = np.stack([is_malignant, ~is_malignant], axis=1).astype(np.float64)
    confused = np.einsum("glc,lk,ck->gk", confusion[:, :, :-1], kinds, kinds[:, ::-1])
    *shares, missed, alarmed = ratios(
        np.hstack([right.sum(axis=1, keepdims=True), right, right, right, confused]),
        np.hstack([support.sum(axis=1, keepdims=True), called, support, called + support - right, support @ kinds]),
    )
    labels = right.shape[1]
    found = [*shares[:-labels], *(Interval(*(2 * bound / (1 + bound) for bound in each)) for each in shares[-labels:])]
    has_tiles = [True, *np.tile(support.sum(axis=0) > 0, 3).tolist()]
    zero = UNDEFINED._replace(value=0.0)
    both_kinds = is_malignant.any() and not is_malignant.all()
    return [
        UNDEFINED if not known else zero if np.isnan(share.value) else share
        for share, known in zip(found, has_tiles, strict=True)
    ], ((missed, alarmed) if both_kinds else (UNDEFINED, UNDEFINED))


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in record.items():
        match value:
            case Interval():
                row |= value.columns(name)
            case (Interval(), *_):
                by_label = [interval.columns(name) for interval in value]
                row |= {key: [figures[key] for figures in by_label] for key in by_label[0]}
            case (Bin(), *_):
                row[name] = [_flat(bin_._asdict()) for bin_ in value]
            case _:
                row[name] = value
    return row
