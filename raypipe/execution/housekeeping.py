"""Housekeeping of a store: the sizes of its parts, the artifacts that no run needs, and their deletion.

An artifact is needed if the record of a run names it: its cells once it is finished, or its plan, which each run
writes before its work. Deletion first puts artifacts aside and then reads the plans again, so that a run that starts
meanwhile gets its artifacts back, or computes them again.
"""

import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from raypipe.base.errors import StageError
from raypipe.evaluation.results.run import RUN_FILE, read_run
from raypipe.plan.record import PLAN_FILE, read_plan
from raypipe.progress.state import PROGRESS_FILE, RunState, read_state
from raypipe.progress.tree import is_silent
from raypipe.storage.store import MANIFEST, Store, StoredFile

TRASH = "trash"
"""Folder of a local store for what a deletion puts aside. What is in it was left by an interrupted deletion."""
CRASHED_SECONDS = 24 * 3600
"""Age from which a temporary file was left by a crash. Writing one takes seconds."""
CLOCKS_DIFFER = 3600.0
"""Seconds by which the clocks of the store and of a run's driver may differ."""
PARTS = re.compile(r"(?P<artifact>artifacts/(?P<kind>[^/]+)/[^/]+)/|(?P<run>runs/[^/]+)/|(?P<folder>[^/]+)/")


@dataclass(frozen=True)
class Part:
    """An artifact, the folder of a run, or another folder or file of a store.

    Parameters
    ----------
    path
        Path relative to the root of the store.
    kind
        Kind of the artifact; ``runs`` for a run, and the name of the folder otherwise.
    files
        Files of the part.
    """

    path: str
    kind: str
    files: tuple[StoredFile, ...]

    @cached_property
    def size(self) -> int:
        """Size in bytes."""
        return sum(file.size for file in self.files)

    @property
    def changed(self) -> float:
        """Time of the last change of its files."""
        return max(file.changed for file in self.files)


@dataclass(frozen=True)
class Inventory:
    """Everything that a store has, and what runs need of it.

    Parameters
    ----------
    parts
        All parts, by path.
    needs
        Paths of the artifacts that each run needs, by run.
    unknown
        Unfinished runs of an older raypipe, which recorded no plan. The artifacts that they need are unknown.
    working_since
        Start of the oldest run at work, in seconds since 1970; infinite if none is at work. What was written since is
        kept: a search chooses later candidates while it runs, so no plan names them.
    """

    parts: Mapping[str, Part]
    needs: Mapping[str, frozenset[str]]
    unknown: tuple[str, ...]
    working_since: float

    def list_unneeded(self) -> list[Part]:
        """Return the artifacts that no run needs, what an interrupted deletion left, and files that a crash left."""
        needed = frozenset().union(*self.needs.values())
        unneeded = [
            each
            for each in self.parts.values()
            if each.path.startswith("artifacts/") and each.path not in needed and each.changed < self.working_since
        ]
        trash = [each for each in self.parts.values() if each.kind == TRASH]
        paths = {each.path for each in unneeded}
        now = time.time()
        crashed = [
            Part(file.path, "temporary file", (file,))
            for each in self.parts.values()
            if each.path not in paths and each.kind != TRASH
            for file in each.files
            if file.is_temporary and now - file.changed >= CRASHED_SECONDS
        ]
        return [*unneeded, *trash, *crashed]

    def list_needed_only_by(self, run: str) -> list[Part]:
        """Return the artifacts that a run needs and no other run does."""
        others = frozenset().union(*(paths for name, paths in self.needs.items() if name != run))
        return [each for each in self.parts.values() if each.path in self.needs[run] - others]


def take_inventory(store: Store) -> Inventory:
    """List a store and read the records of its runs.

    Raises
    ------
    raypipe.storage.errors.StoreError
        If the store cannot be read, or a record is damaged, so that the run's artifacts are unknown.
    """
    files: dict[str, list[StoredFile]] = {}
    kinds: dict[str, str] = {}
    for file in store.list_tree():
        match = PARTS.match(file.path)
        groups = match.groupdict() if match else {}
        path = groups.get("artifact") or groups.get("run") or groups.get("folder") or file.path
        files.setdefault(path, []).append(file)
        kinds[path] = groups.get("kind") or ("runs" if groups.get("run") else path)
    parts = {path: Part(path, kinds[path], tuple(each)) for path, each in sorted(files.items())}
    needs, unknown = _find_needs(store, [path.removeprefix("runs/") for path in parts if kinds[path] == "runs"])
    working = [state.started for run in needs if (state := _read_state_at_work(store, run))]
    return Inventory(parts, needs, tuple(unknown), min(working, default=float("inf")) - CLOCKS_DIFFER)


def _find_needs(store: Store, runs: Iterable[str]) -> tuple[dict[str, frozenset[str]], list[str]]:
    needs: dict[str, frozenset[str]] = {}
    unknown = []
    for run in runs:
        planned = read_plan(store, run)
        finished = store.exists(f"runs/{run}/{RUN_FILE}")
        if planned is None and not finished and store.exists(f"runs/{run}/{PROGRESS_FILE}"):
            unknown.append(run)
        cells = read_run(store, run).cells if finished else ()
        needs[run] = (planned or frozenset()) | {store.artifact(cell.kind, cell.key) for cell in cells}
    return needs, unknown


def delete_unneeded(store: Store, inventory: Inventory) -> list[Part]:
    """Delete what no run needs, and return what was deleted.

    Raises
    ------
    raypipe.base.errors.StageError
        If the artifacts that a run of the store needs are unknown.
    """
    if inventory.unknown:
        raise StageError(
            f"{store.root}: {', '.join(inventory.unknown)} began with an older raypipe and did not finish, so its "
            "cells are unknown: run it again, or remove it with `raypipe store rm`; nothing was deleted"
        )
    return _delete(store, inventory.list_unneeded())


def delete_run(store: Store, inventory: Inventory, run: str) -> list[Part]:
    """Delete the folder of a run and the artifacts that only it needs, and return what was deleted.

    Raises
    ------
    raypipe.base.errors.StageError
        If the run is running.
    """
    if state := _read_state_at_work(store, run):
        raise StageError(f"{run}: is running on {state.host}; stop it first; nothing was deleted")
    artifacts = inventory.list_needed_only_by(run)
    folder = inventory.parts[f"runs/{run}"]
    store.remove(f"{folder.path}/{PLAN_FILE}")  # without its records, the run does not keep its artifacts
    store.remove(f"{folder.path}/{RUN_FILE}")
    deleted = _delete(store, artifacts)
    store.remove(folder.path)
    return [folder, *deleted]


def _read_state_at_work(store: Store, run: str) -> RunState | None:
    """Return the state of a run if it is at work, otherwise None."""
    if not store.exists(f"runs/{run}/{PROGRESS_FILE}"):
        return None
    state = read_state(store, run)
    return state if state.state == "running" and not is_silent(state) else None


def _delete(store: Store, parts: Iterable[Part]) -> list[Part]:
    """Put parts aside, then delete those that no run has claimed meanwhile."""
    claimed = _list_claimed(store)
    aside = [_put_aside(store, part) for part in parts if part.path not in claimed]
    claimed = _list_claimed(store)
    for each in aside:
        if each.part.path not in claimed:
            store.remove(each.place)
        elif each.place != each.part.path:
            store.move(each.place, each.part.path)
        elif each.manifest:
            store.add_bytes(f"{each.part.path}/{MANIFEST}", each.manifest)
    return [each.part for each in aside if each.part.path not in claimed]


def _list_claimed(store: Store) -> frozenset[str]:
    """Return the artifacts that runs need now."""
    needs, _ = _find_needs(store, store.list_directories("runs"))
    return frozenset().union(*needs.values())


class _Aside(NamedTuple):
    """A part that is put aside: the place of its files, and its manifest if that was withdrawn."""

    part: Part
    place: str
    manifest: bytes = b""


def _put_aside(store: Store, part: Part) -> _Aside:
    """Withdraw an artifact from all runs at once.

    A local folder is moved. An object store cannot move a folder at once, so there the artifact loses its manifest,
    without which it does not exist.
    """
    if not part.path.startswith("artifacts/") or part.kind == "temporary file":
        return _Aside(part, part.path)
    if store.is_local:
        place = f"{TRASH}/{uuid.uuid4().hex}"
        store.move(part.path, place)
        return _Aside(part, place)
    path = f"{part.path}/{MANIFEST}"
    manifest = store.read_bytes(path) if store.exists(path) else b""
    store.remove(path)
    return _Aside(part, part.path, manifest)


def list_shares(inventory: Inventory) -> Iterator[tuple[str, int, int]]:
    """Yield each run with the size of all that it needs, its own folder included, and of what only it needs."""
    for run, needed in inventory.needs.items():
        folder = inventory.parts[f"runs/{run}"].size
        both = (part.size for path, part in inventory.parts.items() if path in needed)
        yield run, folder + sum(both), folder + sum(part.size for part in inventory.list_needed_only_by(run))
