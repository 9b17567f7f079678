"""The stages of a plan that any executor can complete, with the progress of each."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from raypipe.data.source import Source
from raypipe.data.tiles import TileItem
from raypipe.execution.attack import attack
from raypipe.execution.certify import certify
from raypipe.execution.corrupt import corrupt
from raypipe.execution.diagnose import diagnose
from raypipe.execution.evaluate import evaluate
from raypipe.execution.executor import Executor
from raypipe.execution.ingest import ingest
from raypipe.execution.overlap import count_compared, search_overlap
from raypipe.execution.universal import find_patterns, perturb
from raypipe.plan.cells import STAGES, Cell, find_unfinished
from raypipe.plan.files import Listing
from raypipe.plan.graph import Plan
from raypipe.progress.pace import read_forecast
from raypipe.progress.run import RunProgress
from raypipe.progress.stage import StageProgress, describe_stage
from raypipe.progress.state import StageState
from raypipe.storage.store import Store

ATTACK, ATTACK_HARDENED = "attack", "attack hardened"


def list_stage_states(plan: Plan, missing: Sequence[Cell]) -> Iterator[StageState]:
    """Yield the states of the stages that a plan consists of, in their order; `missing` cells are still to do."""
    steps: dict[str, tuple[Cell, ...]] = {_ingest_name(cell): (cell,) for cell in plan.stage("ingest")}
    steps |= {name: plan.stage(name) for name in ("overlap", "import", "train")}
    steps |= {ATTACK: list_attacks_on_undefended(plan)}
    steps |= {"harden": plan.stage("harden"), ATTACK_HARDENED: list_attacks_on_hardened(plan)}
    steps |= {name: plan.stage(name) for name in STAGES[STAGES.index("diagnose") :]}
    for name, cells in steps.items():
        if cells:
            yield describe_stage(name, cells, missing)


def _ingest_name(cell: Cell) -> str:
    return cell.name.replace("tiles", "ingest")


def list_attacks_on_undefended(plan: Plan) -> tuple[Cell, ...]:
    """Return the attacks on models that are not hardened in this plan."""
    return tuple(cell for cell in plan.stage("attack") if cell.inputs["model"].stage != "harden")


def list_attacks_on_hardened(plan: Plan) -> tuple[Cell, ...]:
    """Return the attacks on models that are hardened in this plan."""
    return tuple(cell for cell in plan.stage("attack") if cell.inputs["model"].stage == "harden")


def complete_ingest(
    cell: Cell, source: Source, items: Sequence[TileItem], executor: Executor, progress: RunProgress
) -> None:
    """Write the tiles of a cell, unless they exist.

    Parameters
    ----------
    cell
        Cell of the stage ``ingest``.
    source
        The data set.
    items
        Files of the data set on both sides of the split.
    executor
        Place where the files are read.
    progress
        Progress of the run.
    """
    if not cell.manifest(executor.store):
        with progress.stage(_ingest_name(cell), len(items), "files") as stage:
            ingest(cell, source, items, executor, stage)


def complete_overlaps(plan: Plan, listings: Mapping[str, Listing], executor: Executor, progress: RunProgress) -> None:
    """Search external test sets for siblings of training tiles.

    Parameters
    ----------
    listings
        Files of every set of tiles, by the key of its cell.
    """
    if cells := find_unfinished(plan.stage("overlap"), executor.store):
        pairs = [(listings[cell.inputs["tiles"].key], listings[cell.inputs["external"].key]) for cell in cells]
        files = sum(count_compared(training, external) for training, external in pairs)
        with progress.stage("overlap", files, "files") as stage:
            for cell, (training, external) in zip(cells, pairs, strict=True):
                search_overlap(cell, training, external, executor, stage)


def complete_attacks(plan: Plan, name: str, executor: Executor, progress: RunProgress) -> None:
    """Complete the attacks of a plan on undefended or on hardened models, as the stage of that name."""
    store = executor.store
    attacks = list_attacks_on_hardened(plan) if name == ATTACK_HARDENED else list_attacks_on_undefended(plan)
    if cells := find_unfinished(attacks, store):
        count = _TileCounts(cells, store)
        tiles = [count(cell.inputs["tiles"], cell.spec.split, cell.spec.tiles) for cell in cells]
        with progress.stage(name, sum(tiles), "tiles") as stage:
            stage.expect(cells, tiles, read_forecast(store, progress.state.run))
            missing = {cell.key for cell in cells}
            stage.learn_from([cell for cell in plan.stage("attack") if cell.key not in missing], store)
            attack(cells, executor, stage)


def complete_tests(plan: Plan, executor: Executor, progress: RunProgress) -> None:
    """Complete everything that comes after all attacks on single tiles."""
    store = executor.store
    _examine(find_unfinished(plan.stage("diagnose"), store), "diagnose", diagnose, executor, progress)
    _examine(find_unfinished(plan.stage("certify"), store), "certify", certify, executor, progress)
    _examine(find_unfinished(plan.stage("corrupt"), store), "corrupt", corrupt, executor, progress)
    if cells := find_unfinished(plan.stage("pattern"), store):
        with progress.stage("pattern", len(cells), "patterns") as stage:
            find_patterns(cells, executor, stage)
    _examine(find_unfinished(plan.stage("perturb"), store), "perturb", perturb, executor, progress)
    if cells := find_unfinished(plan.stage("evaluate"), store):
        predictions = _count_predictions(cells, store)
        with progress.stage("evaluate", predictions, "predictions") as stage:
            evaluate(cells, executor, stage)


def _examine(
    cells: Sequence[Cell],
    name: str,
    examine: Callable[[Sequence[Cell], Executor, StageProgress], None],
    executor: Executor,
    progress: RunProgress,
) -> None:
    """Examine models on clean test tiles."""
    if cells:
        count = _TileCounts(cells, executor.store)
        tiles = sum(count(cell.inputs["tiles"], "test", cell.spec.tiles) for cell in cells)
        with progress.stage(name, tiles, "tiles") as stage:
            examine(cells, executor, stage)


class _TileCounts:
    """The numbers of tiles that cells work on. The manifest of each set of tiles is read once."""

    def __init__(self, cells: Sequence[Cell], store: Store) -> None:
        sets = {tiles.key: tiles for tiles in map(_find_ingest_cell, cells)}
        manifests = store.ask_all(lambda tiles: tiles.manifest(store) or {}, sets.values())
        self.counts = {key: manifest["counts"] for key, manifest in zip(sets, manifests, strict=True)}

    def __call__(self, tiles: Cell, split: str, limit: int | None) -> int:
        """Return the number of tiles of a split, at most `limit`."""
        count: int = sum(self.counts[tiles.key][split].values())
        return count if limit is None else min(limit, count)


def _find_ingest_cell(cell: Cell) -> Cell:
    """Return the cell that ingested the tiles of a cell, which may be adversarial tiles."""
    tiles = cell.inputs["tiles"]
    return tiles if tiles.stage == "ingest" else tiles.inputs["tiles"]


def _count_predictions(cells: Sequence[Cell], store: Store) -> int:
    """Return the number of tiles that cells predict."""
    count, total = _TileCounts(cells, store), 0
    for cell in cells:
        tiles = cell.inputs["tiles"]
        attacked = tiles.stage != "ingest"
        total += count(_find_ingest_cell(cell), *((tiles.spec.split, tiles.spec.tiles) if attacked else ("test", None)))
    return total
