"""One attack on one finished model in this process, with cells and artifacts as in a run."""

from dataclasses import dataclass

import pyarrow as pa
from rich.console import Console

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.victim import freeze
from raypipe.data.tiles import decode_images
from raypipe.evaluation.results.run import GIVEN
from raypipe.execution.attack import attack
from raypipe.execution.import_model import describe_model, import_model, name_run
from raypipe.execution.ingest import ingest
from raypipe.execution.local_executor import hold_model
from raypipe.execution.missing_gradients import warn_of_missing_gradients
from raypipe.execution.tile_set import TileSet, describe_tiles
from raypipe.models.finished_model import FinishedModel
from raypipe.plan.cells import AttackSpec, Cell
from raypipe.plan.pairings import Subject, attack_cell
from raypipe.plan.record import write_plan
from raypipe.progress.stage import Detail, stage_progress
from raypipe.storage.schemas import REJECTED
from raypipe.storage.store import Store


@dataclass(frozen=True)
class AttackTables:
    """The tables of an attack.

    Parameters
    ----------
    tiles, adversarials
        Clean and adversarial tiles, in the same order: see `raypipe.storage.schemas`.
    rejected
        Files that could not be read.
    device
        Type of the device that the attack ran on, such as ``cuda``.
    without_gradient
        Share of the attacked tiles that have no gradient, in [0, 1]: see `raypipe.execution.missing_gradients`.
    """

    tiles: pa.Table
    adversarials: pa.Table
    rejected: pa.Table
    device: str
    without_gradient: float


def attack_model(
    model: FinishedModel,
    tiles: TileSet,
    settings: NamedAttack,
    store: Store,
    *,
    batch_size: int | None = None,
    console: Console,
    detail: Detail = "normal",
) -> AttackTables:
    """Attack a model, and return the tables of all its tiles; finished shards in the store are reused.

    Parameters
    ----------
    model, tiles
        Model to attack, as `raypipe.execution.adapt_network.use_adapted` returns it, and tiles to attack it on.
    settings
        Settings of the attack.
    store
        Any store.
    batch_size
        Tiles per pass; default: found by trial.
    console
        Console for the progress.
    detail
        Amount of text; ``quiet`` shows no progress.

    Raises
    ------
    raypipe.base.errors.StageError
        If no file gives a tile, or the attack on a shard fails.
    """
    listing, name = tiles.listing, name_run(model.name)
    clean = Cell("ingest", "tiles", describe_tiles(tiles))
    import_cell = Cell("import", name, describe_model(model, tiles.shape))
    subject = Subject(name, GIVEN, 0, None, None, import_cell, clean)
    cell = attack_cell(subject, settings.name, AttackSpec(attack=settings, split="test"))
    record = f"attack-{cell.key}"
    write_plan(store, record, (clean, import_cell, cell))
    import_model(import_cell, model, store)
    executor = hold_model(import_cell, model.network, store, batch_size)
    if clean.manifest(store) is None:
        with stage_progress(console, "ingest", len(listing.items), "files", detail=detail) as stage:
            ingest(clean, listing.source, listing.items, executor, stage)
    if cell.manifest(store) is None:
        count = (clean.manifest(store) or {})["tiles"]
        with stage_progress(console, "attack", count, "tiles", detail=detail) as stage, freeze(model.network):
            attack([cell], executor, stage)
    clean_tiles = pa.concat_tables(store.iter_tables(clean.kind, clean.key, "test"))
    adversarials = pa.concat_tables(store.iter_tables(cell.kind, cell.key))
    labels = clean_tiles["label"].to_numpy()
    without_gradient = warn_of_missing_gradients(
        executor.models.prepare(import_cell.key, tiles.shape),
        decode_images(clean_tiles),
        labels,
        attacked=adversarials["clean_prediction"].to_numpy() == labels,
        success=adversarials["success"].to_numpy(),
        settings=settings,
    )
    store.remove(f"runs/{record}")  # the caller has all that a finished attack gives
    return AttackTables(
        clean_tiles,
        adversarials,
        pa.concat_tables([REJECTED.empty_table(), *store.iter_tables(clean.kind, clean.key, "rejected")]),
        executor.models.device.type,
        without_gradient,
    )
