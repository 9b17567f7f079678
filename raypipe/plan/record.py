"""Record of the cells that a run needs, written before its work, so that housekeeping keeps them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from raypipe.storage.errors import describe_damage
from raypipe.storage.store import Store

if TYPE_CHECKING:  # cells import PyTorch, which reading a plan does not need
    from raypipe.plan.cells import Cell

PLAN_FILE = "plan.json"


def write_plan(store: Store, run: str, cells: "Iterable[Cell]") -> None:
    """Record the cells that a run needs, with the candidates of searches.

    A run writes this before it looks for finished cells. Housekeeping first puts artifacts aside, and then reads the
    records. So either housekeeping sees the record, or the run does not find the artifact and computes it again.
    """
    artifacts = dict.fromkeys(store.artifact(each.kind, each.key) for each in cells)
    store.write_record(f"runs/{run}/{PLAN_FILE}", {"artifacts": list(artifacts)})


def read_plan(store: Store, run: str) -> frozenset[str] | None:
    """Return the paths of the artifacts that a run needs, relative to the root of the store, or None without a record.

    Raises
    ------
    raypipe.storage.errors.StoreError
        If a newer raypipe wrote the record, or the record is damaged.
    """
    path = f"runs/{run}/{PLAN_FILE}"
    try:
        artifacts = store.read_record(path).get("artifacts")
    except FileNotFoundError:
        return None
    if not isinstance(artifacts, list) or not all(isinstance(each, str) for each in artifacts):
        raise describe_damage(store.path(path), "expected a list of artifacts")
    return frozenset(artifacts)
