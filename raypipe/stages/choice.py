"""Choice between the candidates of a search: the best one becomes the artifact of the search's cell."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from raypipe.execution.trial_records import copy_trials
from raypipe.models.model_file import MODEL_FILE
from raypipe.plan.cells import Cell, list_candidates
from raypipe.progress.stage import StageProgress
from raypipe.storage.costs import FREE, Cost
from raypipe.storage.store import Store


def publish_best(cell: Cell, store: Store, progress: StageProgress) -> None:
    """Publish the candidate with the best mean accuracy on clean and perturbed held-out tiles."""
    results = {candidate.key: (candidate, candidate.manifest(store) or {}) for candidate in list_candidates(cell)}
    best, manifest = max(results.values(), key=lambda pair: np.mean(list(pair[1]["validation"].values())))
    records = [
        {"key": key, "defense": candidate.spec.defense.model_dump(mode="json"), "validation": facts["validation"]}
        for key, (candidate, facts) in results.items()
    ]
    cost = sum((Cost.of(facts) for _, facts in results.values()), FREE)
    publish_choice(cell, best, records, cost, store)
    progress.say(f"{cell.name}: {best.name} of {len(records)} candidates, held-out {manifest['validation']}")


def publish_choice(cell: Cell, best: Cell, records: Sequence[dict[str, Any]], cost: Cost, store: Store) -> None:
    """Publish a candidate's model as the artifact of the search's cell.

    Parameters
    ----------
    cell, best
        Cell of the search, and the chosen candidate.
    records
        Records of all candidates, each with its ``key`` and its ``defense``.
    cost
        Cost of all candidates.
    store
        Store of the models.
    """
    manifest = best.manifest(store) or {}
    weights = store.read_bytes(f"{store.artifact(best.kind, best.key)}/{MODEL_FILE}")
    store.write_bytes(f"{store.artifact(cell.kind, cell.key)}/{MODEL_FILE}", weights)
    copy_trials(store, best.key, cell.key)
    cell.publish(
        store,
        card=manifest["card"],
        history=manifest["history"],
        chosen=best.key,
        candidates=list(records),
        cost=cost.facts(),
    )
