"""Differences between runs: one model under one attack, in one run and in another."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.outcomes import Measure, Outcome, collect_examples, compute_outcomes
from raypipe.evaluation.results.run import Run
from raypipe.evaluation.results.strength import is_comparable, match_subjects
from raypipe.evaluation.statistics.comparison import compare, compare_unpaired
from raypipe.evaluation.statistics.intervals import group_tiles
from raypipe.evaluation.statistics.permutation import adjust_p_values
from raypipe.storage.store import Store


def compare_across(runs: Sequence[Run], store: Store) -> list[dict[str, Any]]:
    """Compare accuracy in each further run with accuracy in the first, by model and measure.

    Figures of different data sets or under different attacks are left out: see `raypipe.evaluation.results.strength`.

    Parameters
    ----------
    runs
        Records of the runs. The others are compared with the first one, each model with its counterpart: see
        `raypipe.evaluation.results.strength.match_subjects`.
    store
        Store that holds the artifacts of all runs.

    Returns
    -------
    list of dict
        Rows with ``run``, ``against``, ``subject``, ``measure``, ``attack``, ``norm``, ``eps`` and ``paired``, and the
        ``difference`` with the bounds of its 95 % interval. ``paired`` is true where both runs tested the same tiles;
        the comparison is then made tile by tile, and ``p_value`` is that of the sign-flip test over groups.
        ``p_adjusted`` is Holm's adjustment over all rows that have a p value.

    Raises
    ------
    FileNotFoundError, ValueError
        If artifacts are missing or do not belong together.
    """
    rows = list(_build_rows(runs, store))
    adjusted_p_values = adjust_p_values([row["p_value"] for row in rows])
    return [{**row, "p_adjusted": p_value} for row, p_value in zip(rows, adjusted_p_values, strict=True)]


def _build_rows(runs: Sequence[Run], store: Store) -> Iterator[dict[str, Any]]:
    artifacts = Artifacts(store)
    outcomes = [_read_outcomes(run, artifacts) for run in runs]
    for run, run_outcomes in zip(runs[1:], outcomes[1:], strict=True):
        for subject, counterpart in match_subjects(run, runs[0]).items():
            for measure, before in outcomes[0][counterpart].items():
                after = run_outcomes[subject].get(measure)
                if after is not None and is_comparable(measure, subject, run, counterpart, runs[0]):
                    yield {
                        "run": run.name,
                        "against": runs[0].name,
                        "subject": subject,
                        "measure": measure.name,
                        "attack": measure.attack,
                        "norm": measure.norm,
                        "eps": measure.eps,
                        **_compute_difference(after, before),
                    }


def _read_outcomes(run: Run, artifacts: Artifacts) -> dict[str, dict[Measure, Outcome]]:
    return {
        subject.id: compute_outcomes(subject, run, artifacts, collect_examples(subject, run, artifacts))
        for subject in run.subjects
    }


def _compute_difference(after: Outcome, before: Outcome) -> dict[str, Any]:
    if np.array_equal(after.ids, before.ids):
        comparison = compare(after.correct, before.correct, group_tiles(after.groups))
        return {**comparison.difference.columns("difference"), "paired": True, "p_value": comparison.p_value}
    difference = compare_unpaired(after.correct, group_tiles(after.groups), before.correct, group_tiles(before.groups))
    return {**difference.columns("difference"), "paired": False, "p_value": None}
