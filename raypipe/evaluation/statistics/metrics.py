"""Classification metrics of stored predictions, each with its 95 % interval."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from raypipe.base.predictions import NO_CLASS
from raypipe.evaluation.statistics.calibration import REPLICATES, Bin, compute_calibrations
from raypipe.evaluation.statistics.intervals import (
    UNDEFINED,
    Groups,
    Interval,
    estimate_means,
    group_tiles,
    share_intervals,
)


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
        return _flatten({field.name: getattr(self, field.name) for field in fields(self)})


def predict_labels(logits: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the label of the largest logit, (..., n), from logits (..., n, classes).

    It is `NO_CLASS` where not all logits are finite.
    """
    return np.where(np.isfinite(logits).all(axis=-1), logits.argmax(axis=-1), NO_CLASS)


def compute_chance_accuracy(labels: NDArray[np.integer]) -> float:
    """Return the accuracy of always predicting the most common label.

    A model without any knowledge has it, clean or attacked. No attack can lower it, so a robust accuracy at or below it
    is no robustness.
    """
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def compute_metrics(
    labels: NDArray[np.int64],
    logits: NDArray[np.float32],
    groups: Iterable[object],
    malignant: tuple[int, ...] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Metrics:
    """Return the metrics of one model from true labels and logits.

    Parameters
    ----------
    labels, malignant, replicates, seed
        Arguments as in `compute_metrics_of_models`, which describes the intervals.
    logits
        (n, classes) logits.
    groups
        (n,) source tile or patient of each tile.

    Raises
    ------
    ValueError
        If there are no tiles, if a tile has no group, or if a label has no logit.
    """
    return compute_metrics_of_models(
        labels, logits[None], group_tiles(groups), malignant, replicates=replicates, seed=seed
    )[0]


def compute_metrics_of_models(
    labels: NDArray[np.int64],
    logits: NDArray[np.float32],
    groups: Groups,
    malignant: tuple[int, ...] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> list[Metrics]:
    """Return the metrics of k sets of logits of the same tiles: of several models, or of one under several attacks.

    This takes a fraction of the time of as many calls of `compute_metrics`, with the same result.

    Parameters
    ----------
    labels
        (n,) true labels, in [0, classes).
    logits
        (k, n, classes) logits.
    groups
        Groups of the tiles.
    malignant
        Labels that are malignant; None if that is unknown or has no meaning.
    replicates, seed
        Number of replicates, and seed, of the bootstrap of the calibration error: see
        `raypipe.evaluation.statistics.calibration`.

    Raises
    ------
    ValueError
        If a label has no logit.

    Notes
    -----
    Shares have the intervals of `raypipe.evaluation.statistics.shares`. F1 is 2 s / (1 + s), where s is the share of
    correct tiles among the tiles with this label as true or predicted label. The bounds of F1 are those of s,
    converted. Loss and confidence have Student t intervals over groups.
    """
    classes = logits.shape[2]
    if unknown := set(labels.tolist()).union(malignant or ()) - set(range(classes)):
        raise ValueError(f"labels {sorted(unknown)}: expected labels of the {classes} logits, 0..{classes - 1}")
    predicted = predict_labels(logits)
    # The last column counts broken tiles.
    cells = groups.tally(labels * (classes + 1) + predicted % (classes + 1), classes * (classes + 1))
    confusion = cells.reshape(*cells.shape[:2], classes, classes + 1)
    sound = predicted != NO_CLASS
    log_probabilities = log_softmax(np.where(sound[..., None], logits, 0).astype(np.float64), axis=2)
    confidences = np.exp(log_probabilities.max(axis=2))
    losses = -np.take_along_axis(log_probabilities, np.broadcast_to(labels[:, None], (*sound.shape, 1)), axis=2)[..., 0]
    support = tuple(np.bincount(labels, minlength=classes).tolist())
    chance = compute_chance_accuracy(labels)
    return [
        Metrics(
            tiles=len(labels),
            groups=groups.count,
            broken=broken,
            accuracy=shares[0],
            chance=chance,
            precision=shares[1 : 1 + classes],
            recall=shares[1 + classes : 1 + 2 * classes],
            f1=shares[1 + 2 * classes : 1 + 3 * classes],
            support=support,
            confusion=tuple(map(tuple, matrix)),
            cancer_called_benign=shares[-2],
            benign_called_cancer=shares[-1],
            loss=loss,
            confidence=confidence,
            calibration_error=calibrated.error,
            reliability=calibrated.bins,
        )
        for broken, shares, matrix, loss, confidence, calibrated in zip(
            (~sound).sum(axis=1).tolist(),
            _compute_shares(confusion, malignant),
            confusion[..., :classes].sum(axis=1).astype(int).tolist(),
            estimate_means(losses, sound, groups, least=0, most=np.inf),
            estimate_means(confidences, sound, groups, least=0, most=1),
            compute_calibrations(confidences, predicted == labels, sound, groups, replicates=replicates, seed=seed),
            strict=True,
        )
    ]


def _compute_shares(confusion: NDArray[np.float64], malignant: tuple[int, ...] | None) -> list[tuple[Interval, ...]]:
    """Compute all shares of k models at once from the confusion matrices of the groups.

    Parameters
    ----------
    confusion
        (k, groups, labels, labels + 1) counts.
    malignant
        Labels that are malignant; None if unknown.

    Returns
    -------
    list of tuple
        For each model the accuracy, the labels' precision, recall and F1, the share of malignant tiles called benign,
        and that of benign tiles called malignant.
    """
    correct = np.diagonal(confusion, axis1=2, axis2=3)
    predictions, support = confusion.sum(axis=2)[..., :-1], confusion.sum(axis=3)
    labels = correct.shape[2]
    is_malignant = np.isin(np.arange(labels), malignant or ())
    kinds = np.stack([is_malignant, ~is_malignant], axis=1).astype(np.float64)
    errors = np.einsum("kglc,lm,cm->kgm", confusion[..., :-1], kinds, kinds[:, ::-1])
    all_tiles = support.sum(axis=2, keepdims=True)
    hits = np.dstack([correct.sum(axis=2, keepdims=True), correct, correct, correct, errors])
    tiles = np.dstack([all_tiles, predictions, support, predictions + support - correct, support @ kinds])
    by_group = (np.moveaxis(counts, 1, 0).reshape(counts.shape[1], -1) for counts in (hits, tiles))
    shares = share_intervals(*by_group).reshape(len(confusion), -1, 3)
    f1 = shares[:, -labels - 2 : -2]
    f1[:] = 2 * f1 / (1 + f1)
    by_label, by_kind = shares[:, 1:-2].reshape(len(shares), 3, labels, 3), shares[:, -2:]
    has_tiles = (support.sum(axis=1) > 0)[:, None]
    undefined = np.isnan(by_label[..., 0])
    by_label[undefined] = UNDEFINED._replace(value=0.0)
    by_label[np.broadcast_to(~has_tiles, undefined.shape)] = UNDEFINED
    if not is_malignant.any() or is_malignant.all():
        by_kind[:] = UNDEFINED
    return [tuple(starmap(Interval, rows)) for rows in shares.tolist()]


def _flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in record.items():
        match value:
            case Interval():
                row |= value.columns(name)
            case (Interval(), *_):
                by_label = [interval.columns(name) for interval in value]
                row |= {key: [figures[key] for figures in by_label] for key in by_label[0]}
            case (Bin(), *_):
                row[name] = [_flatten(bin_._asdict()) for bin_ in value]
            case _:
                row[name] = value
    return row
