"""The forecast of every cell and stage of a plan, computed from trials."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from raypipe.base.errors import StageError
from raypipe.execution.forecast.defense_work import (
    count_certificate_passes,
    count_hardening_steps,
    count_prediction_passes,
)
from raypipe.execution.forecast.trials import (
    ModelTrial,
    TilesTrial,
    attack_key,
    find_backbone,
    list_attacks,
    measure_worker_start,
    try_model,
    try_tiles,
)
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import STAGES, Cell, Split, Stage, find_unfinished
from raypipe.plan.files import Listing
from raypipe.plan.listing import Prepared
from raypipe.plan.train_workers import choose_train_workers

EFFICIENCY = 0.93
"""Efficiency of several workers, measured on 2 CPUs. The rest is reading, writing and waiting for the last worker."""
WITHOUT_MODEL: tuple[Stage, ...] = ("ingest", "overlap")
SKETCH_SECONDS = 0.03
"""Seconds to sketch and compare a training tile in the search for siblings of an external test set."""
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
ROW_BYTES = 150
"""Bytes of a tile's row of predictions or diagnostics."""


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


def forecast(
    prepared: Prepared,
    *,
    workers: int | None = None,
    attacked: int = 8,
    say: Callable[[str], None] = lambda _: None,
) -> Forecast:
    """Run short trials of every backbone and attack of an experiment, and sum up its plan.

    Parameters
    ----------
    workers
        Number of workers at once; default: as many as this machine has CPUs, or GPUs, for.
    attacked
        Number of tiles that each attack is tried on.
    say
        Receives the name of each trial.

    Raises
    ------
    raypipe.base.errors.StageError
        If no tile can be read.
    raypipe.models.state_files.WeightsError
        If pretrained weights are not available.
    """
    resources = prepared.experiment.resources
    todo = find_unfinished(prepared.plan.cells, prepared.store)
    if not todo:
        return Forecast((), workers or _count_workers_here(resources), 0.0)
    device = _choose_device(resources)
    torch.set_num_threads(max(1, int(resources.cpus_per_worker)))
    say("tiles")
    listing, ingest = prepared.listings[0], prepared.plan.tiles[0]
    tiles = try_tiles(listing.source, listing.items, ingest.spec)
    trials = _try_models(prepared, todo, tiles, device, attacked, say)
    counts = {cell.key: _count_sides(each) for cell, each in prepared.ingests}
    say("a worker's start")
    cells = tuple(
        _forecast_cell(cell, trials.get(_get_backbone(cell), None), tiles["train"], counts[_ingest_of(cell).key])
        for cell in todo
    )
    return Forecast(cells, workers or _count_workers_here(resources), measure_worker_start())


def _try_models(
    prepared: Prepared,
    todo: Sequence[Cell],
    tiles: Mapping[Split, TilesTrial],
    device: torch.device,
    attacked: int,
    say: Callable[[str], None],
) -> dict[str, ModelTrial]:
    attacks = list_attacks(cell for cell in todo if cell.stage == "attack")
    planted_attacks = {find_backbone(cell): cell.spec.planted for cell in todo if cell.stage == "diagnose"}
    backbones = {find_backbone(cell) for cell in todo if cell.stage not in WITHOUT_MODEL}
    labels = prepared.plan.tiles[0].spec.labels
    return {
        backbone: try_model(
            cell.spec.model,
            cell.spec.recipe,
            attacks.get(backbone, []),
            planted_attacks.get(backbone),
            tiles,
            labels,
            device,
            resources=prepared.experiment.resources,
            attacked=attacked,
            say=say,
        )
        for backbone, cell in {find_backbone(cell): cell for cell in prepared.plan.stage("train")}.items()
        if backbone in backbones
    }


def _get_backbone(cell: Cell) -> str:
    return "" if cell.stage in WITHOUT_MODEL else find_backbone(cell)


def _ingest_of(cell: Cell) -> Cell:
    """Return the cell of the clean tiles that a cell works on."""
    return cell if cell.stage == "ingest" else _ingest_of(cell.inputs["tiles"])


def _count_sides(listing: Listing) -> dict[str, int]:
    return {split: sum(item.split == split for item in listing.items) for split in ("train", "test")}


def _forecast_cell(  # noqa: PLR0911  one for each stage
    cell: Cell, model: ModelTrial | None, tiles: TilesTrial, counts: dict[str, int]
) -> CellForecast:
    if model is None:
        searches = cell.stage == "overlap"  # in the training tiles; the external ones are few
        count = counts["train"] if searches else sum(counts.values())
        seconds, size = (SKETCH_SECONDS, ROW_BYTES) if searches else (tiles.seconds, tiles.size)
        return CellForecast(cell, 0, 0, count * seconds, count * size)
    match cell.stage:
        case "train" | "harden":
            trains = cell.stage == "train"
            steps = (
                cell.spec.recipe.epochs * counts["train"] if trains else count_hardening_steps(cell, counts["train"])
            )
            seconds = steps * model.training
            if not trains and (limit := cell.spec.defense.time_limit) and limit < seconds:
                steps, seconds = steps * limit / seconds, limit
            return CellForecast(cell, steps, steps, seconds, model.size)
        case "attack":
            count = min(cell.spec.tiles or counts[cell.spec.split], counts[cell.spec.split])
            work = _count_passes(cell.inputs["model"])
            correct = count * (1 if cell.spec.split == "train" else _expect_accuracy(model))
            trial = model.attacks[attack_key(cell.spec)]
            seconds = correct * trial.seconds + (count - correct) * model.prediction
            forwards, backwards = correct * trial.forwards + count - correct, correct * trial.backwards
            return CellForecast(cell, forwards, backwards, work * seconds, count * trial.size)
        case "diagnose":
            count = min(cell.spec.tiles or counts["test"], counts["test"])
            planted_tiles = min(cell.spec.planted_tiles, count)
            seconds = count * model.diagnosis + planted_tiles * model.planted
            return CellForecast(cell, 0, 0, _count_passes(cell.inputs["model"]) * seconds, count * ROW_BYTES)
        case "certify":
            count = min(cell.spec.tiles or counts["test"], counts["test"])
            passes = count * count_certificate_passes(cell.spec.defense)
            return CellForecast(cell, passes, 0, passes * model.prediction, count * ROW_BYTES)
        case "pattern":
            universal = cell.spec.universal
            passes = universal.epochs * min(universal.tiles, counts["train"])
            seconds = _count_passes(cell.inputs["model"]) * passes * (model.training + model.prediction)
            return CellForecast(cell, 2 * passes, passes, seconds, ROW_BYTES)
    count = _count_predictions(cell, counts)
    seconds = _count_passes(cell.inputs["model"]) * count * model.prediction
    return CellForecast(cell, count, 0, seconds, count * ROW_BYTES)


def _count_predictions(cell: Cell, counts: dict[str, int]) -> int:
    """Return the number of predictions of a cell that only predicts."""
    if cell.stage in ("corrupt", "perturb"):
        versions = len(cell.spec.levels) if cell.stage == "corrupt" else len(("pattern", "random"))
        return (1 + versions) * min(cell.spec.tiles or counts["test"], counts["test"])
    tiles, split = cell.inputs["tiles"].spec, cell.spec.split
    return min(getattr(tiles, "tiles", None) or counts[split], counts[split])


def _expect_accuracy(model: ModelTrial) -> float:
    """Return the expected share of correct test tiles, which are attacked: half of the trial's errors should vanish."""
    return (1 + model.accuracy) / 2


def _count_passes(model: Cell) -> float:
    """Return the number of passes through the network per pass of a cell's model."""
    return count_prediction_passes(model.spec.defense) if model.stage == "harden" else 1


def _choose_device(resources: Resources) -> torch.device:
    if resources.gpu and not torch.cuda.is_available():
        raise StageError(
            "resources.gpu is true, but PyTorch cannot use a GPU here: estimate on a machine like those that will do "
            "the work, or set resources.gpu: false"
        )
    return torch.device("cuda" if resources.gpu else "cpu")


def _trains_together(stage: Stage, resources: Resources, train_workers: int) -> bool:
    return (stage == "train" and train_workers > 1) or (stage == "harden" and resources.harden_workers > 1)


def _count_workers_here(resources: Resources) -> int:
    if resources.gpu:
        return max(1, torch.cuda.device_count())
    return max(1, int((os.cpu_count() or 1) // resources.cpus_per_worker))
