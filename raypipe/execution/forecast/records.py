"""The forecast of a plan's cells, and what it says of each stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raypipe.experiment.schema import Resources
from raypipe.plan.cells import STAGES, Cell, Stage
from raypipe.plan.train_workers import choose_train_workers

EFFICIENCY = 0.93
"""Efficiency of several workers, measured on 2 CPUs. The rest is reading, writing and waiting for the last worker."""
IN_STEP = 0.65
"""Efficiency of CPUs that train one network together, measured on 2. After every step they exchange gradients over the
cores that also compute, and wait for each other. GPUs exchange gradients while they compute."""
STARTS: Mapping[Stage, float] = {"ingest": 1, "train": 2.5, "harden": 1}
"""Time that a stage takes to start and to end, as a multiple of a worker's import time. Training has a controller that
starts before its workers, and the workers have to find each other. Other stages reuse the workers of ingest. Actors,
which hold GPUs, start for every stage."""
CELL_SECONDS = 0.03
"""Seconds that each cell adds to its stage besides its work, measured with a thousand cells without work."""
RAY_SECONDS, REPORT_SECONDS, RESULT_SECONDS = 6, 3, 0.01
"""Elapsed seconds to start and end Ray, to draw the report, and to compute the result of one cell of predictions."""


@dataclass(frozen=True)
class CellForecast:
    """The forecast of a cell.

    Parameters
    ----------
    cell
        Cell of the forecast.
    forwards, backwards
        Numbers of passes of one tile through a network.
    seconds
        Seconds, summed over all workers.
    size
        Bytes that the cell will store.
    """

    cell: Cell
    forwards: float
    backwards: float
    seconds: float
    size: float


@dataclass(frozen=True)
class StageForecast:
    """The forecast of a stage: numbers of cells and passes, seconds of all workers, elapsed seconds, and bytes."""

    stage: Stage
    cells: int
    passes: float
    seconds: float
    wall: float
    size: float


@dataclass(frozen=True)
class Forecast:
    """The forecast of an experiment's unfinished cells.

    Parameters
    ----------
    cells
        Forecasts of the cells to do.
    workers
        Number of workers at once.
    start
        Seconds until a new worker has imported its modules.
    """

    cells: tuple[CellForecast, ...]
    workers: int
    start: float

    @property
    def besides(self) -> float:
        """Elapsed seconds that belong to no stage."""
        evaluations = sum(forecast.cell.stage == "evaluate" for forecast in self.cells)
        return RAY_SECONDS + REPORT_SECONDS + RESULT_SECONDS * evaluations if self.cells else 0.0

    def stages(self, resources: Resources) -> list[StageForecast]:
        """Return the forecast of each stage with cells to do, in order."""
        members = {stage: [each for each in self.cells if each.cell.stage == stage] for stage in STAGES}
        train_workers = self._count_train_workers(resources, members["train"])
        return [
            self._forecast_stage(stage, cells, resources, train_workers) for stage, cells in members.items() if cells
        ]

    def _count_train_workers(self, resources: Resources, trainings: Sequence[CellForecast]) -> int:
        """Return the number of training workers, for ``auto`` the one that the run will choose."""
        if resources.train_workers != "auto":
            return resources.train_workers
        if not trainings:
            return 1
        first = trainings[0].cell
        sizes = first.spec.recipe.batch_size, first.inputs["tiles"].spec.size
        return choose_train_workers(len(trainings), self.workers, *sizes).workers

    def _forecast_stage(
        self, stage: Stage, cells: Sequence[CellForecast], resources: Resources, train_workers: int
    ) -> StageForecast:
        seconds = sum(each.seconds for each in cells)
        workers, efficiency = self._at_once(stage, resources, len(cells), train_workers), EFFICIENCY
        if _trains_together(stage, resources, train_workers) and workers > 1 and not resources.gpu:
            seconds, efficiency = seconds / IN_STEP, 1  # the workers' seconds include the time they wait for each other
        alone = stage == "train" and not train_workers  # in tasks, which need no group of workers
        starts = STARTS[stage] if stage in STARTS and not alone else int(resources.gpu)
        if stage == "harden" and resources.harden_workers:  # every trial starts its own group of workers
            starts += STARTS["train"] * len(cells) * resources.harden_workers / workers
        wall = seconds / workers / (efficiency if workers > 1 else 1)
        wall += starts * self.start + CELL_SECONDS * len(cells)
        passes = sum(each.forwards + each.backwards for each in cells)
        return StageForecast(stage, len(cells), passes, seconds, wall, sum(each.size for each in cells))

    def _at_once(self, stage: Stage, resources: Resources, cells: int, train_workers: int) -> int:
        match stage:
            case "train":  # one backbone after the other, or all side by side
                return min(self.workers, train_workers or cells)
            case "harden":
                return min(self.workers, max(1, resources.harden_workers) * cells)
            case "ingest":
                return self.workers
        return min(self.workers, resources.attack_actors or self.workers)


def _trains_together(stage: Stage, resources: Resources, train_workers: int) -> bool:
    return (stage == "train" and train_workers > 1) or (stage == "harden" and resources.harden_workers > 1)
