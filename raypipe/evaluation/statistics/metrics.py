"""Classification metrics of stored predictions, each with its 95 % interval."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from raypipe.base.predictions import NO_CLASS
from raypipe.evaluation.statistics.calibration import REPLICATES, Bin, calibration
from raypipe.evaluation.statistics.intervals import UNDEFINED, Interval, group_tiles, mean, ratios


@dataclass(frozen=True)
class Metrics:
    """The metrics of a model on a set of tiles.

    Parameters
    ----------
    tiles
        Number of tiles.
    groups
        Number of source tiles or patients. With fewer than two, no figure has an interval.
    broken
        Number of tiles whose logits are not all finite. They are misclassified and have no confidence. A model with
        such tiles is broken, and so are its figures.
    accuracy
        Share of tiles that is classified correctly.
    chance
        Accuracy of always predicting the most common label.
    precision, recall, f1, support
        Figures by label; NaN for a label without tiles. The precision of a label that has tiles and is never predicted
        is 0, without an interval, as in scikit-learn with ``zero_division=0``.
    confusion
        Confusion matrix: rows are true labels, columns are predictions. Broken tiles are in no column.
    cancer_called_benign, benign_called_cancer
        Share of the malignant tiles with a benign prediction, and share of the benign tiles with a malignant one.
        Undefined where there are no such tiles, or where the labels are not known to include malignant and benign ones.
    loss
        Mean negative log-likelihood of the true label, in nats, without the broken tiles.
    confidence
        Mean probability of the predicted label, without the broken tiles.
    calibration_error
        Expected calibration error, without the broken tiles; see `raypipe.evaluation.statistics.calibration`.
    reliability
        Bins of the calibration error.
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
        """Return the fields for a table: `x`, `x_low` and `x_high` for each interval x, None where undefined."""
        return _flat({field.name: getattr(self, field.name) for field in fields(self)})


def predicted_labels(logits: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the label of the largest logit, (n,), from logits (n, classes).

    It is `NO_CLASS` where not all logits are finite.
    """
    return np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), NO_CLASS)


def chance_accuracy(labels: NDArray[np.integer]) -> float:
    """Return the accuracy of always predicting the most common label.

    A model without any knowledge has it, clean or attacked. No attack can lower it, so a robust accuracy at or below it
    is no robustness.
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
    """Return metrics from true labels and logits.

    Parameters
    ----------
    labels
        (n,) true labels, in [0, classes).
    logits
        (n, classes) logits.
    groups
        (n,) source tile or patient of each tile.
    malignant
        Labels that are malignant; None if that is unknown or has no meaning.
    replicates, seed
        Number of replicates, and seed, of the bootstrap of the calibration error: see
        `raypipe.evaluation.statistics.calibration`.

    Raises
    ------
    ValueError
        If there are no tiles, if a tile has no group, or if a label has no logit.

    Notes
    -----
    Shares have the intervals of `raypipe.evaluation.statistics.shares`. F1 is 2 s / (1 + s), where s is the share of
    correct tiles among the tiles with this label as true or predicted label. The bounds of F1 are those of s,
    converted. Loss and confidence have Student t intervals over groups.
    """
    classes = logits.shape[1]
    if unknown := set(labels.tolist()).union(malignant or ()) - set(range(classes)):
        raise ValueError(f"labels {sorted(unknown)}: expected labels of the {classes} logits, 0..{classes - 1}")
    group_codes = group_tiles(groups)
    predicted = predicted_labels(logits)
    # The last column counts broken tiles.
    cells = group_codes.tally(labels * (classes + 1) + predicted % (classes + 1), classes * (classes + 1))
    confusion = cells.reshape(-1, classes, classes + 1)
    (accuracy, *by_label), (missed_cancers, false_alarms) = _shares(confusion, malignant)
    sound = predicted != NO_CLASS
    sound_groups = group_codes.select(sound)
    log_probabilities = log_softmax(logits[sound].astype(np.float64), axis=1)
    confidences = np.exp(log_probabilities.max(axis=1))
    calibration_result = calibration(
        confidences, (predicted == labels)[sound], sound_groups, replicates=replicates, seed=seed
    )
    return Metrics(
        tiles=len(labels),
        groups=group_codes.count,
        broken=int((~sound).sum()),
        accuracy=accuracy,
        chance=chance_accuracy(labels),
        precision=tuple(by_label[:classes]),
        recall=tuple(by_label[classes : 2 * classes]),
        f1=tuple(by_label[2 * classes :]),
        support=tuple(np.bincount(labels, minlength=classes).tolist()),
        confusion=tuple(map(tuple, confusion[:, :, :classes].sum(axis=0).astype(int).tolist())),
        cancer_called_benign=missed_cancers,
        benign_called_cancer=false_alarms,
        loss=mean(-log_probabilities[np.arange(len(log_probabilities)), labels[sound]], sound_groups, least=0),
        confidence=mean(confidences, sound_groups, least=0, most=1),
        calibration_error=calibration_result.error,
        reliability=calibration_result.bins,
    )


def _shares(
    confusion: NDArray[np.float64], malignant: tuple[int, ...] | None
) -> tuple[list[Interval], tuple[Interval, Interval]]:
    """Compute all shares at once from the confusion matrices of the groups.

    Parameters
    ----------
    confusion
        (groups, labels, labels + 1) counts.
    malignant
        Labels that are malignant; None if unknown.

    Returns
    -------
    tuple
        List of the accuracy and of the labels' precision, recall and F1; and a pair of the malignant tiles called
        benign and the benign tiles called malignant.
    """
    correct = np.diagonal(confusion, axis1=1, axis2=2)
    predictions, support = confusion.sum(axis=1)[:, :-1], confusion.sum(axis=2)
    is_malignant = np.isin(np.arange(confusion.shape[1]), malignant or ())
    kinds = np.stack([is_malignant, ~is_malignant], axis=1).astype(np.float64)
    errors = np.einsum("glc,lk,ck->gk", confusion[:, :, :-1], kinds, kinds[:, ::-1])
    *shares, missed_cancers, false_alarms = ratios(
        np.hstack([correct.sum(axis=1, keepdims=True), correct, correct, correct, errors]),
        np.hstack(
            [support.sum(axis=1, keepdims=True), predictions, support, predictions + support - correct, support @ kinds]
        ),
    )
    labels = correct.shape[1]
    by_label = [
        *shares[:-labels],
        *(Interval(*(2 * bound / (1 + bound) for bound in each)) for each in shares[-labels:]),
    ]
    has_tiles = [True, *np.tile(support.sum(axis=0) > 0, 3).tolist()]
    zero = UNDEFINED._replace(value=0.0)
    both_kinds = is_malignant.any() and not is_malignant.all()
    return [
        UNDEFINED if not has_tile else zero if np.isnan(share.value) else share
        for share, has_tile in zip(by_label, has_tiles, strict=True)
    ], ((missed_cancers, false_alarms) if both_kinds else (UNDEFINED, UNDEFINED))


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
