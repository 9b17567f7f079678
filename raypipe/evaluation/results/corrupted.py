"""Accuracy under natural corruptions: of each model, by corruption and severity, beside that of the unchanged tiles."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.run import CorruptedRecord, Run, SubjectRecord
from raypipe.evaluation.statistics.comparison import compare
from raypipe.evaluation.statistics.intervals import Groups, estimate_mean, group_tiles
from raypipe.storage.tables import stack_lists

OVERALL = 0
"""Severity of the row that averages over all severities."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's correct answers under one corruption.

    Parameters
    ----------
    ids, groups
        (n,) ids and groups of the tiles. A tile whose group is unknown is a group of its own.
    clean
        (n,) True where the unchanged tile is classified correctly.
    corrupted
        (severities, n) the same for the corrupted tiles.
    """

    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    clean: NDArray[np.bool_]
    corrupted: NDArray[np.bool_]

    @property
    def severities(self) -> range:
        """Severities from 1 on."""
        return range(1, 1 + len(self.corrupted))

    def at(self, severity: int) -> NDArray[np.bool_]:
        """Return the correct answers at a severity, or those at all severities, one after the other."""
        chosen = self.corrupted if severity == OVERALL else self.corrupted[severity - 1]
        answers: NDArray[np.bool_] = chosen.ravel()
        return answers


def compute_corruptions(run: Run, artifacts: Artifacts) -> Iterator[dict[str, Any]]:
    """Yield the rows of `raypipe.evaluation.results.schemas.CORRUPTIONS`.

    The errors of a model are given relative to those of the first undefended model of the same split and seed
    (Hendrycks and Dietterich, 2019, arXiv:1903.12261).
    """
    found = {(record.subject, record.corruption): record for record in run.corrupted}
    answers = {place: read_answers(record, artifacts) for place, record in found.items()}
    subjects = {subject.id: subject for subject in run.subjects}
    for (name, corruption), own in answers.items():
        subject = subjects[name]
        baseline = _find_baseline(subject, run)
        theirs, groups = answers[baseline.id, corruption], group_tiles(own.groups)
        levels = found[name, corruption].levels
        for severity in range(OVERALL, 1 + len(levels)):
            wrong, reference = (1 - each.at(severity).mean() for each in (own, theirs))
            yield {
                **subject.columns(),
                "corruption": corruption,
                "severity": severity,
                "level": None if severity == OVERALL else levels[severity - 1],
                "tiles": len(own.clean),
                "groups": groups.count,
                **estimate_mean(own.clean, groups).columns("clean_accuracy"),
                **_compare(own, groups, severity),
                "baseline": baseline.id,
                "relative_error": float(wrong / reference) if reference else None,
            }


def read_answers(record: CorruptedRecord, artifacts: Artifacts) -> Answers:
    """Return the answers of a model under one corruption, sorted by the ids of the tiles."""
    table = artifacts.read_corrupted(record.key)
    labels = table["label"].to_numpy()
    predictions = stack_lists(table["predictions"])
    ids, groups = table["sample_id"].to_pylist(), table["group_id"].to_pylist()
    known = [group if group is not None else name for group, name in zip(groups, ids, strict=True)]
    return Answers(
        np.array(ids, dtype=np.str_),
        np.array(known, dtype=np.str_),
        table["clean_prediction"].to_numpy() == labels,
        (predictions == labels[:, None]).T,
    )


def _find_baseline(subject: SubjectRecord, run: Run) -> SubjectRecord:
    return next(
        each
        for each in run.subjects
        if each.undefended is None and (each.split, each.seed) == (subject.split, subject.seed)
    )


def _compare(answers: Answers, tiles: Groups, severity: int) -> dict[str, Any]:
    """Return the accuracy at a severity, and by how much it is lower than that of the same tiles unchanged.

    Over all severities, the versions of a tile count as siblings in its group.
    """
    correct = answers.at(severity)
    versions = len(correct) // len(answers.clean)
    groups = replace(tiles, codes=np.tile(tiles.codes, versions))
    drop = compare(np.tile(answers.clean, versions), correct, groups).difference
    return {**estimate_mean(correct, groups).columns("accuracy"), **drop.columns("drop")}
