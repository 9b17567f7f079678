"""The state of a run, as it is shown here and written down for those who watch from elsewhere."""

import socket
import time
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from raypipe.evaluation.results.run import find_in_run
from raypipe.progress.shards import ShardState
from raypipe.storage.errors import describe_damage
from raypipe.storage.store import Store

PROGRESS_FILE = "progress.json"
State = Literal["to do", "running", "done", "failed"]


class GroupState(BaseModel):
    """The state of a stage's cells that belong to one model.

    Parameters
    ----------
    cells, done, failed
        Number of cells; number of cells done, in this run or before; number of cells that failed in this run.
    units
        Units of work done on the cells in this run: tiles or epochs.
    attacked, fooled, passes
        Attacks of this run: number of tiles that the model classified correctly; number of those that fool it now;
        number of forward and backward passes for them, counted per tile.
    """

    cells: int = 0
    done: int = 0
    failed: int = 0
    units: int = 0
    attacked: int = 0
    fooled: int = 0
    passes: int = 0


class StageState(BaseModel):
    """The state of a stage.

    Parameters
    ----------
    name
        Name of the stage.
    groups
        Cells of the stage, counted by their model.
    state
        State of the stage: to do, running, done or failed.
    total, unit
        Amount of work in this run, and its unit: tiles or epochs.
    began
        Start of the stage, in seconds since 1970 by the driver's clock.
    seconds
        Seconds since the start, or in total once it is done; 0 if it was done before this run.
    alive
        True once a worker has done something, so that waiting for workers is over.
    left
        Estimated seconds left, from the times per tile of each attack and model; None if the pace of all work decides.
    in_work
        Shards in work, by name.
    note
        Further figure of the work besides the groups' counts, such as a loss.
    working
        Names of the cells in work with their models, the most recently updated ones last.
    """

    name: str
    groups: dict[str, GroupState] = Field(default_factory=dict)
    state: State = "to do"
    total: int = 0
    unit: str = ""
    began: float = 0.0
    seconds: float = 0.0
    alive: bool = False
    left: float | None = None
    in_work: dict[str, ShardState] = Field(default_factory=dict)
    note: str = ""
    working: dict[str, str] = Field(default_factory=dict)

    @property
    def whole(self) -> GroupState:
        """The sum over all groups."""
        groups = list(self.groups.values())
        return GroupState(**{name: sum(getattr(group, name) for group in groups) for name in GroupState.model_fields})

    @property
    def units(self) -> float:
        """Units of work done in this run, with the tiles of shards in work."""
        return self.whole.units + sum(shard.tiles for shard in self.in_work.values())

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds left; None if there is no pace yet."""
        if self.state == "running" and self.left is not None:
            return self.left
        units = self.units
        if self.state != "running" or not units or units > self.total:
            return None
        return self.seconds * (self.total - units) / units


class RunState(BaseModel):
    """The state of a run.

    Parameters
    ----------
    run
        Name of the run.
    stages
        Stages of the run, in their order.
    state
        State of the run: running, done or failed.
    error
        Reason of the failure; empty if there is none.
    activity
        Work besides the stages, such as drawing the report.
    host
        Host name of the driver.
    started, updated
        Times of the start and of the last update, in seconds since 1970 by the driver's clock.
    """

    run: str
    stages: list[StageState]
    state: State = "running"
    error: str = ""
    activity: str = ""
    host: str = Field(default_factory=socket.gethostname)
    started: float = Field(default_factory=time.time)
    updated: float = Field(default_factory=time.time)

    def touch(self) -> None:
        """Record that the driver is alive, and update the time of the running stage."""
        self.updated = time.time()
        for stage in self.stages:
            if stage.state == "running":
                stage.seconds = self.updated - stage.began

    def complete(self) -> None:
        """Mark the run and all its cells as done: workers of an earlier driver may have published some of them."""
        self.state = "done"
        for stage in self.stages:
            stage.state = "done"
            for group in stage.groups.values():
                group.done = group.cells


def write_state(store: Store, state: RunState) -> None:
    """Write the state of a run to the place where `read_state` finds it."""
    store.write_bytes(f"runs/{state.run}/{PROGRESS_FILE}", state.model_dump_json(indent=1).encode())


def read_state(store: Store, run: str) -> RunState:
    """Return the state of a run, as its driver last wrote it.

    Raises
    ------
    FileNotFoundError
        If there is no run of that name; the message lists the existing runs.
    """
    path = find_in_run(store, run, PROGRESS_FILE, "run")
    try:
        return RunState.model_validate_json(store.read_bytes(path))
    except ValidationError as error:
        raise describe_damage(store.path(path), error) from error
