"""The state of a run, as it is shown here and written down for those who watch from elsewhere."""

import socket
import time
from typing import Literal

from pydantic import BaseModel, Field

from raypipe.evaluation.run import find_in_run
from raypipe.store import Store

PROGRESS_FILE = "progress.json"
State = Literal["to do", "running", "done", "failed"]


class StageState(BaseModel):
    """How a stage goes.

    Parameters
    ----------
    name
        Of the stage.
    cells, cells_done
        How many it has, and how many of them are done, in this run or before.
    state
        Whether it has begun or ended.
    units, total, unit
        Of work done and to do: tiles, epochs.
    seconds
        Since it began, or that it took.
    note
        How it goes: its throughput, its success rate so far.
    working
        Cells in work, those touched last at the end.
    """

    name: str
    cells: int
    cells_done: int
    state: State = "to do"
    units: int = 0
    total: int = 0
    unit: str = ""
    seconds: float = 0.0
    note: str = ""
    working: list[str] = Field(default_factory=list)

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None before there is one."""
        if self.state != "running" or not self.units or self.units > self.total:
            return None
        return self.seconds * (self.total - self.units) / self.units


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
    return RunState.model_validate_json(store.read_bytes(find_in_run(store, run, PROGRESS_FILE, "run")))
