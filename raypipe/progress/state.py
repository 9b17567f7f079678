"""The state of a run, as it is shown here and written down for those who watch from elsewhere."""

import socket
import time
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from raypipe.evaluation.results.run import find_in_run
from raypipe.plan.cells import Cell, unfinished
from raypipe.storage.store import Store, damaged

PROGRESS_FILE = "progress.json"
State = Literal["to do", "running", "done", "failed"]


class GroupState(BaseModel):
    """How those cells of a stage go that are about one model.

    Parameters
    ----------
    cells, done, failed
        How many there are; how many of them are done, in this run or before; how many failed in this run.
    units
        Of work done on them in this run: tiles, epochs.
    attacked, fooled, passes
        Of attacks in this run: tiles that the model got right, those of them that fool it now, and what that took,
        forwards and backwards, counted by tile.
    """

    cells: int = 0
    done: int = 0
    failed: int = 0
    units: int = 0
    attacked: int = 0
    fooled: int = 0
    passes: int = 0


class StageState(BaseModel):
    """How a stage goes.

    Parameters
    ----------
    name
        Of the stage.
    groups
        Its cells by the model that they are about.
    state
        Whether it has begun or ended.
    total, unit
        Of work to do in this run: tiles, epochs.
    began
        Seconds since 1970, of the driver's clock.
    seconds
        Since it began, or that it took; 0 if it was done before.
    note
        How it goes, besides what its groups count: a loss.
    working
        Names of cells in work with their models, those touched last at the end.
    """

    name: str
    groups: dict[str, GroupState] = Field(default_factory=dict)
    state: State = "to do"
    total: int = 0
    unit: str = ""
    began: float = 0.0
    seconds: float = 0.0
    note: str = ""
    working: dict[str, str] = Field(default_factory=dict)

    @property
    def whole(self) -> GroupState:
        """All its groups together."""
        groups = list(self.groups.values())
        return GroupState(**{name: sum(getattr(group, name) for group in groups) for name in GroupState.model_fields})

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None before there is one."""
        units = self.whole.units
        if self.state != "running" or not units or units > self.total:
            return None
        return self.seconds * (self.total - units) / units


class RunState(BaseModel):
    """How a run goes.

    Parameters
    ----------
    run
        Its name.
    stages
        In their order.
    state
        Whether it has ended, and how.
    error
        Why it failed.
    host
        Where its driver is.
    started, updated
        Seconds since 1970, of the driver's clock.
    """

    run: str
    stages: list[StageState]
    state: State = "running"
    error: str = ""
    host: str = Field(default_factory=socket.gethostname)
    started: float = Field(default_factory=time.time)
    updated: float = Field(default_factory=time.time)

    def touch(self) -> None:
        """The driver lives, and time goes on for the stage in work."""
        self.updated = time.time()
        for stage in self.stages:
            if stage.state == "running":
                stage.seconds = self.updated - stage.began

    def complete(self) -> None:
        """Mark the run as done, with every cell of it: some may have been published by workers of an earlier driver."""
        self.state = "done"
        for stage in self.stages:
            stage.state = "done"
            for group in stage.groups.values():
                group.done = group.cells


def stage_of(name: str, cells: Iterable[Cell], store: Store) -> StageState:
    """A stage before it begins: what is done of it is what has an artifact."""
    groups: dict[str, GroupState] = {}
    cells = tuple(cells)
    to_do = {cell.key for cell in unfinished(cells, store)}
    for cell in cells:
        group = groups.setdefault(cell.model, GroupState())
        group.cells += 1
        group.done += cell.key not in to_do
    complete = all(group.done == group.cells for group in groups.values())
    return StageState(name=name, groups=groups, state="done" if complete else "to do")


def write_state(store: Store, state: RunState) -> None:
    """Keep the state of a run where `read_state` finds it."""
    store.write_bytes(f"runs/{state.run}/{PROGRESS_FILE}", state.model_dump_json(indent=1).encode())


def read_state(store: Store, run: str) -> RunState:
    """The state of a run, as its driver last wrote it.

    Raises
    ------
    FileNotFoundError
        If there is no run of that name; the message lists the runs there are.
    """
    path = find_in_run(store, run, PROGRESS_FILE, "run")
    try:
        return RunState.model_validate_json(store.read_bytes(path))
    except ValidationError as error:
        raise damaged(store.path(path), error) from error
