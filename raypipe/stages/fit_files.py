"""Files of a fit in the store: the model, and the last epoch while the fit runs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from raypipe.execution.trial_records import try_model
from raypipe.models.checkpoint import ModelCard, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.models.model_file import MODEL_FILE
from raypipe.plan.cells import Cell
from raypipe.storage.costs import FREE, Cost
from raypipe.storage.store import Store
from raypipe.training.fit import EpochRecord


def publish_model(
    cell: Cell,
    classifier: Classifier,
    card: ModelCard,
    store: Store,
    *,
    history: Sequence[EpochRecord] = (),
    cost: Cost = FREE,
    **facts: Any,
) -> None:
    """Store a classifier as the artifact of a cell, unless the cell has one already.

    The trials that attacks need run here, once, before many workers load the model.

    Parameters
    ----------
    cell
        Cell of the stage ``train`` or ``harden``.
    classifier
        The model.
    card
        Backbone, classes and preprocessing of the model.
    store
        Store that receives the artifact.
    history
        Records of the epochs, oldest first.
    cost
        Cost of the fit.
    facts
        Further facts for the manifest.
    """
    if cell.manifest(store):
        return
    store.write_bytes(f"{store.artifact(cell.kind, cell.key)}/{MODEL_FILE}", save_classifier(classifier, card))
    try_model(store, cell.key, classifier, (len(card.mean), card.size, card.size))
    card_record = TypeAdapter(ModelCard).dump_python(card, mode="json")
    cell.publish(store, card=card_record, history=[asdict(record) for record in history], cost=cost.facts(), **facts)


def read_last_epoch(store: Store, cell: Cell) -> dict[str, Any] | None:
    """Return the last epoch of a fit, from its artifact or from the progress file that a running fit writes."""
    if manifest := cell.manifest(store):
        history = manifest["history"]
        if not history:
            return None
        return {"name": cell.name, "epochs": len(history), **history[-1]}
    try:
        record: dict[str, Any] = store.read_json(get_progress_path(cell))
    except FileNotFoundError:  # it has not begun, or it has ended since the look for its artifact
        return None
    return record


def get_progress_path(cell: Cell) -> str:
    """Return the path of the file in which a running fit writes its last epoch."""
    return f"progress/{cell.key}.json"
