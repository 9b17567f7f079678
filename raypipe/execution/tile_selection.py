"""The shards of a set of tiles that a cell works on, and the selected tiles in each."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.data.subset import choose_subset
from raypipe.execution.shards import ShardTask, build_shard_task
from raypipe.plan.cells import Cell
from raypipe.storage.store import Store

Selection = tuple[str, tuple[int, ...] | None]
"""Path of a shard, and the positions of the selected tiles in it; None selects all."""


@dataclass
class TileSelector:
    """A lookup of the tiles of cells, shared by cells over the same tiles.

    Parameters
    ----------
    store
        Store of the tiles.
    """

    store: Store
    cache: dict[tuple[str, str, int | None], list[Selection]] = field(default_factory=dict)

    def shards(self, tiles: Cell, split: str, count: int | None) -> list[Selection]:
        """Return the shards of a split with selected tiles, each with their positions.

        Parameters
        ----------
        tiles
            Cell that ingested the tiles.
        split
            Split, ``train`` or ``test``.
        count
            Number of tiles; None means all.
        """
        request = (tiles.key, split, count)
        if request not in self.cache:
            shards = self.store.shards("tiles", tiles.key, split)
            self.cache[request] = (
                [(shard, None) for shard in shards]
                if count is None
                else self._select_subset(shards, count, tiles.spec.seed)
            )
        return self.cache[request]

    def list_test_tasks(self, cell: Cell, **own: tuple[Any, ...]) -> list[ShardTask]:
        """Return a task for each shard of a cell's test tiles, whose number its spec has.

        Parameters
        ----------
        cell
            Cell that works on test tiles.
        own
            Fields of the tasks that only its stage needs.
        """
        return [
            build_shard_task(cell, shard, self.store, positions, **own)
            for shard, positions in self.shards(cell.inputs["tiles"], "test", cell.spec.tiles)
        ]

    def _select_subset(self, shards: list[str], count: int, seed: int) -> list[Selection]:
        tables = [self.store.read_table(shard, ["label", "group_id", "sample_id"]) for shard in shards]
        tiles = pa.concat_tables(tables)
        groups = pc.coalesce(tiles["group_id"], tiles["sample_id"]).to_pylist()
        subset = choose_subset(tiles["label"].to_pylist(), groups, count, seed)
        selections: list[Selection] = []
        begin = 0
        for shard, table in zip(shards, tables, strict=True):
            end = begin + table.num_rows
            if positions := tuple(position - begin for position in subset if begin <= position < end):
                selections.append((shard, positions))
            begin = end
        return selections
