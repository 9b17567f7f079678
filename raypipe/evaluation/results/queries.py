"""Accuracy against the number of queries, from one run of each attack that only queries the model."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.protocols import Role
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.run import PairingRecord, Run
from raypipe.evaluation.statistics.intervals import estimate_mean, group_tiles

MARKS = (10, 30, 100, 300, 1000, 3000, 10_000)
"""Numbers of queries that tables show. Curves have more points."""
PER_DECADE = 8
"""Number of points of a curve between a number of queries and ten times as many."""


def compute_queries(run: Run, artifacts: Artifacts) -> Iterator[dict[str, Any]]:
    """Yield the rows of `raypipe.evaluation.results.schemas.QUERIES`, by model, attack and number of queries."""
    subjects = {subject.id: subject for subject in run.subjects}
    for pairing in find_query_pairings(run.pairings):
        predictions = artifacts.read_predictions(pairing)
        groups, needed = group_tiles(predictions.groups), count_queries_needed(pairing, artifacts)
        threat = pairing.threat
        assert threat is not None  # noqa: S101  an attack has a threat model
        for count in choose_query_counts(count_most(pairing)):
            yield {
                **subjects[pairing.subject].columns(),
                "attack": pairing.attack,
                "method": pairing.method,
                "norm": threat.norm,
                "eps": threat.eps,
                "stored_eps": threat.stored_eps,
                "knowledge": threat.knowledge,
                "goal": threat.goal,
                "pixels": threat.precision,
                "queries": count,
                "tiles": len(needed),
                "groups": groups.count,
                **estimate_mean(needed > count, groups).columns("accuracy"),
            }


def find_query_pairings(pairings: Iterable[PairingRecord]) -> Iterator[PairingRecord]:
    """Yield the pairings whose attacks count the queries of each tile."""
    for pairing in pairings:
        if pairing.role == Role.QUERIES and pairing.settings and "max_queries" in pairing.settings:
            yield pairing


def count_most(pairing: PairingRecord) -> int:
    """Return the largest number of queries for a tile in the attack of a pairing."""
    most: int = (pairing.settings or {})["max_queries"]
    return most


def count_queries_needed(pairing: PairingRecord, artifacts: Artifacts) -> NDArray[np.float64]:
    """Return the number of queries after which each tile is misclassified, (n,).

    It is 0 where the model is wrong without an attack, and infinite where the attack failed.
    """
    predictions, adversarials = artifacts.read_predictions(pairing), artifacts.read_adversarials(pairing)
    queries = artifacts.read_queries(pairing).astype(np.float64)
    wrong_before = adversarials.clean_prediction != predictions.labels
    needed = np.where(predictions.correct, np.inf, queries)
    result: NDArray[np.float64] = np.where(wrong_before, 0.0, needed)
    return result


def choose_query_counts(most: int) -> list[int]:
    """Return the numbers of queries of a curve: none, then evenly on a logarithmic axis, with `MARKS` and `most`."""
    points = np.logspace(0, np.log10(most), 1 + round(PER_DECADE * np.log10(most)) if most > 1 else 1)
    return sorted({0, *(mark for mark in MARKS if mark < most), *points.round().astype(int).tolist(), most})
