"""Differences between a run's models: gain of a defense, bias of static evaluation, effect of leakage."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from raypipe.evaluation.results.outcomes import Measure, Outcome
from raypipe.evaluation.results.run import Run, SubjectRecord
from raypipe.evaluation.statistics.comparison import compare, compare_unpaired
from raypipe.evaluation.statistics.intervals import Interval, group_tiles
from raypipe.evaluation.statistics.permutation import adjust_p_values

Outcomes = Mapping[str, Mapping[Measure, Outcome]]
"""Outcomes by model id and measure."""


def compute_differences(run: Run, outcomes: Outcomes) -> list[dict[str, Any]]:
    """Return the rows of `raypipe.evaluation.results.schemas.DIFFERENCES`.

    Three comparisons give rows:

    - Every hardened model is compared with the undefended model that it was hardened from, in all measures that both
      have.
    - The static figures of a hardened model are compared with its adaptive ones.
    - Every model trained and tested on the paper's split is compared with the same model on the group split, which has
      no leakage.

    Holm's adjustment covers all rows that have a p value.
    """
    rows = list(_build_rows(run, outcomes))
    adjusted_p_values = adjust_p_values([row["p_value"] for row in rows])
    return [{**row, "p_adjusted": p_value} for row, p_value in zip(rows, adjusted_p_values, strict=True)]


def _build_rows(run: Run, outcomes: Outcomes) -> Iterator[dict[str, Any]]:
    for subject in run.subjects:
        if subject.undefended:
            for measure, outcome in outcomes[subject.id].items():
                if measure in outcomes[subject.undefended] and measure.name != "static":
                    yield _compare_paired(subject, subject.undefended, measure.name, measure, outcome, outcomes)
            for measure, outcome in outcomes[subject.id].items():
                adaptive = measure._replace(name="attacked")
                if measure.name == "static" and adaptive in outcomes[subject.id]:
                    yield _compare_paired(subject, subject.id, "static less adaptive", adaptive, outcome, outcomes)
        if subject.split == "paper" and (twin := _find_twin(run, subject)):
            for measure, outcome in outcomes[subject.id].items():
                if measure in outcomes[twin.id]:
                    yield _compare_unpaired(subject, twin, measure, outcome, outcomes[twin.id][measure])


def _compare_paired(
    subject: SubjectRecord, against: str, name: str, measure: Measure, outcome: Outcome, outcomes: Outcomes
) -> dict[str, Any]:
    other = outcomes[against][measure]
    if not np.array_equal(outcome.ids, other.ids):
        raise ValueError(f"{subject.id} and {against}: {name} was measured on different tiles")
    comparison = compare(outcome.correct, other.correct, group_tiles(outcome.groups))
    return {
        **_build_row(subject, against, name, measure, comparison.difference),
        "paired": True,
        "only_first": comparison.only_first,
        "only_second": comparison.only_second,
        "p_value": comparison.p_value,
    }


def _compare_unpaired(
    subject: SubjectRecord, twin: SubjectRecord, measure: Measure, outcome: Outcome, other: Outcome
) -> dict[str, Any]:
    difference = compare_unpaired(
        outcome.correct, group_tiles(outcome.groups), other.correct, group_tiles(other.groups)
    )
    return {**_build_row(subject, twin.id, measure.name, measure, difference), "paired": False, "p_value": None}


def _build_row(
    subject: SubjectRecord, against: str, name: str, measure: Measure, difference: Interval
) -> dict[str, Any]:
    return {
        **subject.columns(),
        "against": against,
        "measure": name,
        "attack": measure.attack,
        "norm": measure.norm,
        "eps": measure.eps,
        **difference.columns("difference"),
    }


def _find_twin(run: Run, subject: SubjectRecord) -> SubjectRecord | None:
    """Return the model with the same settings on the group split; None if there is none."""
    kin = ("model", "seed", "defense", "hardened_on")
    for other in run.subjects:
        if other.split == "group" and all(getattr(other, name) == getattr(subject, name) for name in kin):
            return other
    return None
