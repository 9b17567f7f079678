"""The overlap stage: siblings of an external test set's tiles among the training tiles of an experiment."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import pyarrow as pa

from raypipe.data.audit.overlap import find_overlap
from raypipe.data.audit.sketch import CHUNK, Result, Sketch, sketch_chunk, stack_sketches
from raypipe.data.source import Source
from raypipe.data.tiles import sample_id
from raypipe.execution.executor import Executor
from raypipe.plan.cells import Cell
from raypipe.plan.files import Listing
from raypipe.progress.stage import StageProgress
from raypipe.storage.schemas import OVERLAPS


class _Task(NamedTuple):
    """Paths of files to read, and True if they belong to the external set."""

    external: bool
    paths: tuple[str, ...]


def count_compared(training: Listing, external: Listing) -> int:
    """Return the number of files that a search reads."""
    return sum(len(task.paths) for task in _list_tasks(training, external))


def search_overlap(
    cell: Cell, training: Listing, external: Listing, executor: Executor, progress: StageProgress
) -> None:
    """Find the training tile that each tile of an external test set resembles most, from their source images.

    Parameters
    ----------
    cell
        Cell of the search.
    training
        Files of the experiment. Only its training tiles are compared.
    external
        Files of the external test set.
    executor, progress
        Place where files are read, and the display of the progress.

    Raises
    ------
    raypipe.base.errors.StageError
        If a task fails.
    """
    tasks = _list_tasks(training, external)
    read = partial(_read, training=training.source, external=external.source)
    found: dict[bool, dict[str, Sketch]] = {False: {}, True: {}}
    for is_external, results in executor.read_files(read, tasks, "overlap", progress.say):
        found[is_external] |= {each.path: each.sketch for each in results if isinstance(each.sketch, Sketch)}
        progress.advance(len(results), cell)
    ours, theirs = (dict(sorted(found[side].items())) for side in (False, True))
    overlap = find_overlap(stack_sketches(ours.values()), stack_sketches(theirs.values()), os.cpu_count() or 1)
    paths = list(ours)
    table = pa.table(
        {
            "sample_id": [sample_id(path) for path in theirs],
            "source_path": list(theirs),
            "training_path": [paths[place] for place in overlap.nearest],
            "similarity": overlap.similarity,
            "sibling": overlap.similarity >= overlap.threshold,
        },
        schema=OVERLAPS,
    )
    store = executor.store
    store.add_table(f"{store.artifact(cell.kind, cell.key)}/part-00000.parquet", table)
    siblings = int((overlap.similarity >= overlap.threshold).sum())
    facts = {"training": len(ours), "tiles": len(theirs), "siblings": siblings, "threshold": overlap.threshold}
    cell.publish(store, **facts)
    progress.finish(cell)
    if siblings:
        progress.say(f"{cell.name}: {siblings} of {len(theirs)} tiles; figures on them may be too high")


def _list_tasks(training: Listing, external: Listing) -> list[_Task]:
    return [*_cut_tasks(training, "train", external=False), *_cut_tasks(external, "test", external=True)]


def _cut_tasks(listing: Listing, side: str, *, external: bool) -> Iterator[_Task]:
    paths = sorted(item.ref.path for item in listing.items if item.split == side)
    return (_Task(external, tuple(paths[start : start + CHUNK])) for start in range(0, len(paths), CHUNK))


def _read(task: _Task, training: Source, external: Source) -> tuple[bool, Sequence[Result]]:
    return task.external, sketch_chunk(external if task.external else training, task.paths)
