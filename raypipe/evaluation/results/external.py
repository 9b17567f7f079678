"""Accuracy on external test sets: of each model, beside that on its own test tiles of the same classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.results.artifacts import Artifacts, Predictions
from raypipe.evaluation.results.run import ExternalRecord, Run
from raypipe.evaluation.statistics.comparison import compare_independent
from raypipe.evaluation.statistics.intervals import Groups, estimate_mean, group_tiles
from raypipe.evaluation.statistics.prevalence import reweight_accuracy


@dataclass(frozen=True, eq=False)
class _Answers:
    """True and predicted classes of some tiles, (n,), with their groups."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    groups: Groups

    @classmethod
    def from_predictions(cls, predictions: Predictions, labels: NDArray[np.int64]) -> "_Answers":
        """Return the answers for the tiles of some classes.

        Raises
        ------
        ValueError
            If there are none.
        """
        chosen = np.isin(predictions.labels, labels)
        return cls(
            predictions.labels[chosen], predictions.predicted[chosen], group_tiles(predictions.groups[chosen].tolist())
        )

    @property
    def correct(self) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = self.labels == self.predicted
        return mask

    def count_outside(self, labels: NDArray[np.int64]) -> int:
        """Return the number of predictions of classes that are not among `labels`."""
        return int((~np.isin(self.predicted, labels)).sum())

    def select_class(self, label: int) -> "_Answers":
        """Return the answers for the tiles of one class."""
        chosen = self.labels == label
        groups = self.groups.codes[chosen]
        return _Answers(self.labels[chosen], self.predicted[chosen], group_tiles(groups.tolist()))


def compute_external(run: Run, artifacts: Artifacts) -> Iterator[dict[str, Any]]:
    """Yield the rows of `raypipe.evaluation.results.schemas.EXTERNAL`."""
    subjects = {subject.id: subject for subject in run.subjects}
    for record in run.external:
        names = tuple(name for name in run.labels if name in record.labels.values())
        mapped = np.array([run.labels.index(name) for name in names])
        clean = artifacts.read_predictions(run.find_clean_pairing(record.subject))
        own = _Answers.from_predictions(clean, mapped)
        theirs = _Answers.from_predictions(artifacts.read_logits(record.predictions), mapped)
        about = {**subjects[record.subject].columns(), "set_id": record.set_id, **_describe(record, artifacts)}
        # Class shares differ between the sets, and the mean of the recalls does not depend on them.
        balanced = [reweight_accuracy(each.correct, each.labels, mapped, each.groups) for each in (own, theirs)]
        yield {
            **about,
            **_compare(own, theirs, mapped),
            **balanced[0].columns("own_balanced_accuracy"),
            **balanced[1].columns("balanced_accuracy"),
            **compare_independent(*balanced).columns("balanced_drop"),
            "label": None,
            "chance": 1 / len(names),
        }
        for name, label in zip(names, mapped.tolist(), strict=True):
            if (own.labels == label).any() and (theirs.labels == label).any():
                yield {**about, **_compare(own.select_class(label), theirs.select_class(label), mapped), "label": name}


def _compare(own: _Answers, theirs: _Answers, mapped: NDArray[np.int64]) -> dict[str, Any]:
    """Return the accuracy on both sets of tiles and their difference, as columns."""
    ours, accuracy = estimate_mean(own.correct, own.groups), estimate_mean(theirs.correct, theirs.groups)
    return {
        "tiles": len(theirs.labels),
        "groups": theirs.groups.count,
        "own_tiles": len(own.labels),
        "own_groups": own.groups.count,
        **ours.columns("own_accuracy"),
        **accuracy.columns("accuracy"),
        **compare_independent(ours, accuracy).columns("drop"),
        "outside": theirs.count_outside(mapped),
        "own_outside": own.count_outside(mapped),
    }


def _describe(record: ExternalRecord, artifacts: Artifacts) -> dict[str, Any]:
    """Return the facts about an external test set as columns."""
    manifest = artifacts.manifest("tiles", record.tiles) or {}
    overlap = (artifacts.manifest("overlaps", record.overlap) if record.overlap else None) or {}
    return {
        "left_out": [f"{count} ({reason})" for reason, count in manifest["reasons"].items()],
        "synthetic": manifest["synthetic"],
        "siblings": overlap.get("siblings"),
        "compared": overlap.get("tiles"),
    }
