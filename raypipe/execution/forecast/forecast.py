"""The forecast of every cell and stage of a plan, computed from trials."""

import os
from collections.abc import Callable, Mapping, Sequence

import torch

from raypipe.base.errors import StageError
from raypipe.execution.forecast.defense_work import (
    count_certificate_passes,
    count_hardening_steps,
    count_prediction_passes,
)
from raypipe.execution.forecast.records import CellForecast, Forecast
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
from raypipe.plan.cells import Cell, Split, Stage, find_unfinished
from raypipe.plan.files import Listing
from raypipe.plan.listing import Prepared

WITHOUT_MODEL: tuple[Stage, ...] = ("ingest", "overlap")
SKETCH_SECONDS = 0.03
"""Seconds to sketch and compare a training tile in the search for siblings of an external test set."""
ROW_BYTES = 150
"""Bytes of a tile's row of predictions or diagnostics."""


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


def _count_workers_here(resources: Resources) -> int:
    if resources.gpu:
        return max(1, torch.cuda.device_count())
    return max(1, int((os.cpu_count() or 1) // resources.cpus_per_worker))
