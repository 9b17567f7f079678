"""The ingest stage: files become 8-bit tiles of one size in Parquet shards; unreadable files are rejected."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import pyarrow as pa

from raypipe.base.errors import StageError
from raypipe.data.leakage import LeakageError, measure_leakage, require_disjoint
from raypipe.data.reading.deep_images import describe_dark
from raypipe.data.source import Source, shuffle_by_hash
from raypipe.data.tiles import TileItem, make_tiles, read_brightest
from raypipe.evaluation.results.run import GIVEN
from raypipe.execution.executor import Executor
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.storage.costs import Cost, add_cost, read_cost
from raypipe.storage.schemas import REJECTED
from raypipe.storage.store import Store

MAX_PROBLEMS_SHOWN = 5
SET_ASIDE = "aside"
"""Name of the part for files that the listing already rejected. Its shards hold no tile, but record that the files were
handled."""


@dataclass(frozen=True)
class IngestTask:
    """Files that become one shard of tiles, at a path below the cell's artifact."""

    shard: str
    items: tuple[TileItem, ...]


@dataclass(frozen=True)
class IngestResult:
    """Numbers of tiles and of rejected files in a shard."""

    tiles: int
    rejected: int


def ingest(cell: Cell, source: Source, items: Sequence[TileItem], executor: Executor, progress: StageProgress) -> None:
    """Write the tiles that `cell` describes.

    Parameters
    ----------
    cell
        Cell of the tiles.
    source
        Source of the files; every worker must be able to read from it.
    items
        Every file of the source once, with its split.

    Raises
    ------
    StageError
        If the training or the test tiles end up empty.
    raypipe.data.leakage.LeakageError
        If a group split has a group on both sides.
    """
    store, spec = executor.store, cell.spec
    root = store.artifact(cell.kind, cell.key)
    todo = [
        task
        for task in _list_tasks(items, cell.spec.shard_size, cell.spec.seed)
        if not store.exists(f"{root}/{task.shard}")
    ]
    read = partial(
        _ingest_shard,
        source=source,
        store=store,
        root=root,
        make=partial(make_tiles, size=spec.size, scaled=spec.scaled_decoding, bit_depth=spec.bit_depth),
    )
    try:
        if todo:
            rejected = 0
            for result in executor.read_files(read, todo, "ingest", progress.say):
                rejected += result.rejected
                progress.advance(result.tiles + result.rejected, cell, note=f"{rejected} rejected" if rejected else "")
        facts = _collect_facts(cell, store, source)
        _require_every_class(items, facts)
        if facts["tiles"] + facts["rejected"] != len(items):
            raise StageError(
                f"ingest: {len(items)} files were listed, but {facts['tiles']} tiles and {facts['rejected']} rejected "
                f"ones were stored; remove {store.path(root)} and run again"
            )
    except (StageError, LeakageError):
        progress.fail(cell)
        raise
    cell.publish(store, **facts)
    progress.finish(cell)
    if facts["dark"]:
        progress.say(describe_dark(facts["dark"], facts["brightest"]))
    for reason, count in list(facts["reasons"].items())[:MAX_PROBLEMS_SHOWN]:
        progress.say(f"{count} rejected: {reason}")


def _list_tasks(items: Sequence[TileItem], shard_size: int, seed: int) -> list[IngestTask]:
    """Return the items by split, shuffled by group because sources list them by class, and cut into shards.

    Items of one group stay together, because the cost of reading one of them may serve the others. Training shuffles
    again, by tile. Sizes of shards differ by at most one item: a small last shard would cost nearly as many passes as a
    full one, with nearly empty batches.
    """
    tasks = []
    for part in sorted({item.split or SET_ASIDE for item in items}):
        members: dict[str, list[TileItem]] = defaultdict(list)
        for item in items:
            if (item.split or SET_ASIDE) == part:
                members[item.ref.group or item.ref.path].append(item)
        ordered = [item for group in shuffle_by_hash(members, seed) for item in members[group]]
        count = -(-len(ordered) // shard_size)
        bounds = [len(ordered) * number // count for number in range(count + 1)]
        for number, (start, end) in enumerate(pairwise(bounds)):
            tasks.append(IngestTask(f"{part}/part-{number:05d}.parquet", tuple(ordered[start:end])))
    return tasks


def _ingest_shard(
    task: IngestTask, source: Source, store: Store, root: str, make: Callable[..., tuple[pa.Table, pa.Table]]
) -> IngestResult:
    """Write a shard, unless it exists already: a task may be repeated."""
    target, rejects_target = f"{root}/{task.shard}", f"{root}/rejected/{task.shard.replace('/', '-')}"
    if store.exists(target):
        rejected = _count_rows(store, rejects_target, "reason") if store.exists(rejects_target) else 0
        return IngestResult(_count_rows(store, target, "label"), rejected)
    start = time.perf_counter()
    tiles, rejects = make(source, task.items)
    cost = Cost(seconds=time.perf_counter() - start, device="cpu")
    if rejects.num_rows:
        store.write_table(rejects_target, rejects)
    # The shard is written last, because its presence means that it is complete.
    store.add_table(target, add_cost(tiles, cost))
    return IngestResult(tiles.num_rows, rejects.num_rows)


def _count_rows(store: Store, table: str, column: str) -> int:
    return int(store.read_table(table, [column]).num_rows)


def _collect_facts(cell: Cell, store: Store, source: Source) -> dict[str, Any]:
    columns = ["label_name", "group_id", "split"]
    shards = [shard for split in ("train", "test", SET_ASIDE) for shard in store.shards(cell.kind, cell.key, split)]
    tables = [store.read_table(shard, columns) for shard in shards]
    tiles = pa.concat_tables(tables).to_pydict() if tables else {name: [] for name in columns}
    rejected = _count_rejected(store, cell)
    counts = Counter(zip(tiles["split"], tiles["label_name"], strict=True))
    for split in ("test",) if cell.spec.split == GIVEN else ("train", "test"):
        if not any(s == split for s, _ in counts):
            reasons = "; ".join(f"{count} x {reason}" for reason, count in rejected.most_common(MAX_PROBLEMS_SHOWN))
            raise StageError(f"ingest: no {split} tile could be read; rejected: {reasons or 'nothing'}")
    dark, brightest = read_brightest(tables)
    groups = list(zip(tiles["group_id"], tiles["split"], strict=True))
    if cell.spec.split == "group":
        require_disjoint(groups)
    return {
        "labels": list(source.labels),
        "synthetic": source.synthetic,
        "split": cell.spec.split,
        "leakage": None if cell.spec.split == GIVEN else measure_leakage(groups),
        "counts": {split: {label: counts[split, label] for label in source.labels} for split in ("train", "test")},
        "tiles": len(groups),
        "rejected": sum(rejected.values()),
        "dark": dark,
        "brightest": brightest,
        "reasons": dict(rejected.most_common()),
        "cost": sum((read_cost(store, shard) for shard in shards), Cost()).facts(),
    }


def _require_every_class(items: Sequence[TileItem], facts: dict[str, Any]) -> None:
    """Require a tile of every class of which files were listed. Raise StageError if all of one were rejected."""
    listed = {str(item.ref.label_name) for item in items if item.split is not None}
    read = {label for counts in facts["counts"].values() for label, count in counts.items() if count}
    if lost := sorted(listed - read):
        reasons = "; ".join(f"{count} x {reason}" for reason, count in list(facts["reasons"].items())[:1])
        raise StageError(
            f"ingest: no file of the class {', '.join(lost)} gives a tile ({reasons}); repair its files, or remove the "
            "class from the data set"
        )


def _count_rejected(store: Store, cell: Cell) -> Counter[str]:
    tables = [REJECTED.empty_table(), *store.iter_tables(cell.kind, cell.key, "rejected")]
    return Counter(pa.concat_tables(tables)["reason"].to_pylist())
