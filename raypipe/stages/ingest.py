"""The ingest stage: files become 8-bit tiles of one size in Parquet shards; unreadable files are rejected."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from raypipe.base.errors import StageError
from raypipe.data.leakage import LeakageError, measure_leakage, require_disjoint
from raypipe.data.source import Source, TileRef, shuffle_by_hash
from raypipe.data.tiles import TileItem, make_tiles
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.stages.ray_map import Row, map_items
from raypipe.storage.costs import Cost, add_cost, read_cost
from raypipe.storage.schemas import REJECTED
from raypipe.storage.store import Store

MAX_PROBLEMS_SHOWN = 5
SET_ASIDE = "aside"
"""Name of the part for files that the listing already rejected. Its shards hold no tile, but record that the files were
handled."""


def ingest(
    cell: Cell,
    source: Source,
    items: Sequence[TileItem],
    store: Store,
    resources: Resources,
    progress: StageProgress,
) -> None:
    """Write the tiles that `cell` describes.

    Parameters
    ----------
    cell
        The plan's only cell of this stage.
    source
        Source of the files; every worker must be able to read from it.
    items
        Every file of the source once, with its split.

    Raises
    ------
    StageError
        If a split ends up without tiles.
    raypipe.data.leakage.LeakageError
        If a group split has a group on both sides.
    """
    root = store.artifact(cell.kind, cell.key)
    todo = [
        row
        for row in _shards(items, cell.spec.shard_size, cell.spec.seed)
        if not store.exists(f"{root}/{row['shard']}")
    ]
    setup = {
        "source": source,
        "store": store,
        "root": root,
        "size": cell.spec.size,
        "scaled": cell.spec.scaled_decoding,
    }
    try:
        if todo:
            aside = 0
            for row in map_items(_ingest_shard, todo, resources, name="ingest", setup=setup, say=progress.say):
                aside += row["rejected"]
                progress.advance(row["tiles"] + row["rejected"], cell, note=f"{aside} rejected" if aside else "")
        facts = _facts(cell, store, source)
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
    for reason, count in list(facts["reasons"].items())[:MAX_PROBLEMS_SHOWN]:
        progress.say(f"{count} rejected: {reason}")


def _shards(items: Sequence[TileItem], shard_size: int, seed: int) -> list[Row]:
    """Return the items by split, shuffled by group because sources list them by class, and cut into shards.

    Items of one group stay together, because the cost of reading one of them may serve the others. Training shuffles
    again, by tile.
    """
    rows = []
    for part in sorted({item.split or SET_ASIDE for item in items}):
        members: dict[str, list[TileItem]] = defaultdict(list)
        for item in items:
            if (item.split or SET_ASIDE) == part:
                members[item.ref.group or item.ref.path].append(item)
        ordered = [item for group in shuffle_by_hash(members, seed) for item in members[group]]
        for number, start in enumerate(range(0, len(ordered), shard_size)):
            listing = json.dumps([[vars(ref), split] for ref, split in ordered[start : start + shard_size]])
            rows.append({"shard": f"{part}/part-{number:05d}.parquet", "items": listing})
    return rows


def _ingest_shard(row: Row, source: Source, store: Store, root: str, size: int, scaled: bool) -> Row:
    """Write a shard, unless it exists already: Ray may repeat a task."""
    target, rejects = f"{root}/{row['shard']}", f"{root}/rejected/{row['shard'].replace('/', '-')}"
    if store.exists(target):
        return {"tiles": _rows(store, target), "rejected": _rows(store, rejects) if store.exists(rejects) else 0}
    items = [TileItem(TileRef(**ref), split) for ref, split in json.loads(row["items"])]
    begun = time.perf_counter()
    tiles, rejected = make_tiles(source, items, size, scaled=scaled)
    cost = Cost(seconds=time.perf_counter() - begun, device="cpu")
    if rejected.num_rows:
        store.write_table(rejects, rejected)
    # The shard is written last, because its presence means that it is complete.
    store.write_table(target, add_cost(tiles, cost))
    return {"tiles": tiles.num_rows, "rejected": rejected.num_rows}


def _rows(store: Store, shard: str) -> int:
    return int(store.read_table(shard, ["label"]).num_rows)


def _facts(cell: Cell, store: Store, source: Source) -> dict[str, Any]:
    columns = ["label_name", "group_id", "split"]
    shards = [shard for split in ("train", "test", SET_ASIDE) for shard in store.shards(cell.kind, cell.key, split)]
    tables = [store.read_table(shard, columns) for shard in shards]
    tiles = pa.concat_tables(tables).to_pydict() if tables else {name: [] for name in columns}
    rejected = _rejected(store, cell)
    counts = Counter(zip(tiles["split"], tiles["label_name"], strict=True))
    for split in ("train", "test"):
        if not any(s == split for s, _ in counts):
            shown = "; ".join(f"{count} x {reason}" for reason, count in rejected.most_common(MAX_PROBLEMS_SHOWN))
            raise StageError(f"ingest: no {split} tile could be read; rejected: {shown or 'nothing'}")
    groups = list(zip(tiles["group_id"], tiles["split"], strict=True))
    if cell.spec.split == "group":
        require_disjoint(groups)
    return {
        "labels": list(source.labels),
        "synthetic": source.synthetic,
        "split": cell.spec.split,
        "leakage": measure_leakage(groups),
        "counts": {split: {label: counts[split, label] for label in source.labels} for split in ("train", "test")},
        "tiles": len(groups),
        "rejected": sum(rejected.values()),
        "reasons": dict(rejected.most_common()),
        "cost": sum((read_cost(store, shard) for shard in shards), Cost()).facts(),
    }


def _rejected(store: Store, cell: Cell) -> Counter[str]:
    tables = [REJECTED.empty_table(), *store.iter_tables(cell.kind, cell.key, "rejected")]
    return Counter(pa.concat_tables(tables)["reason"].to_pylist())
