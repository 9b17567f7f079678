"""Records of the candidates of a search: a stored model, or the epochs of a candidate that was stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raypipe.plan.cells import Cell
from raypipe.storage.costs import FREE, Cost
from raypipe.storage.store import Store

State = Literal["running", "finished", "stopped", "diverged"]
"""State of a candidate. The scheduler stops a candidate, and a loss that is not finite makes it diverge."""


@dataclass(frozen=True)
class CandidateRecord:
    """The record of a candidate.

    Parameters
    ----------
    state
        State; ``running`` also if it was interrupted or has not been started.
    history
        Finished epochs, each with the fields of `raypipe.training.fit.EpochRecord`.
    reason
        Error of a candidate that diverged, or empty.
    """

    state: State = "running"
    history: tuple[dict[str, Any], ...] = ()
    reason: str = ""


def read_candidate(search: Cell, candidate: Cell, store: Store) -> CandidateRecord:
    """Return the record of a candidate of a search."""
    if manifest := candidate.manifest(store):
        return CandidateRecord("finished", tuple(manifest["history"]))
    try:
        stored = store.read_json(_get_path(search, candidate))
    except FileNotFoundError:
        return CandidateRecord()
    return CandidateRecord(stored["state"], tuple(stored["history"]), stored["reason"])


def write_candidate(search: Cell, candidate: Cell, record: CandidateRecord, store: Store) -> None:
    """Store the record of a candidate that has no model."""
    store.write_json(_get_path(search, candidate), vars(record))


def remove_candidates(search: Cell, store: Store) -> None:
    """Remove the records of a search whose choice is published."""
    store.remove(_get_folder(search))


def rate_candidate(candidate: Cell, history: Sequence[Mapping[str, Any]]) -> float | None:
    """Return a candidate's robust accuracy on held-out tiles: of its best epoch if that is kept, or else of its last.

    None if no epoch was rated.
    """
    scores = [epoch["score"] for epoch in history if epoch["score"] is not None]
    if not scores:
        return None
    return float(max(scores) if candidate.spec.defense.early_stopping else scores[-1])


def sum_costs(records: Mapping[str, CandidateRecord], candidates: Sequence[Cell], store: Store) -> Cost:
    """Return the cost of all candidates, with the epochs of those that have no model.

    Parameters
    ----------
    records
        Records by the key of the candidate.
    candidates, store
        All candidates, and the store of their models.
    """
    total = FREE
    for candidate in candidates:
        if manifest := candidate.manifest(store):
            total += Cost.of(manifest)
            continue
        for epoch in records[candidate.key].history:
            total += Cost(epoch["forwards"], epoch["backwards"], epoch["seconds"])
    return total


def _get_folder(search: Cell) -> str:
    return f"searches/{search.key}"


def _get_path(search: Cell, candidate: Cell) -> str:
    return f"{_get_folder(search)}/{candidate.key}.json"
