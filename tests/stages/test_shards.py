"""A worker on one shard, called in this process."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from raypipe.attacks.engine import headway
from raypipe.experiment.schema import Resources
from raypipe.progress import shards as files
from raypipe.progress.shards import FOLDER, ShardState
from raypipe.stages.model_cache import ModelCache
from raypipe.stages.ray_map import Row
from raypipe.stages.shards import shard_task
from raypipe.storage.store import Store
from tests.evaluation.handmade import IDS, store_tiles


class HalfWay:
    """Work that reports half of its tiles, and looks at what others see of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seen: list[ShardState] = []

    def compute(self, models: ModelCache, row: Row, tiles: pa.Table, images: NDArray[np.uint8]) -> int:
        headway.report(len(images) / 2)
        names = self.store.list_files(FOLDER)
        self.seen = [ShardState.model_validate_json(self.store.read_bytes(f"{FOLDER}/{name}")) for name in names]
        return len(images)

    def tabulate(self, row: Row, tiles: pa.Table, made: Any) -> tuple[pa.Table, Row]:
        return pa.table({"tile": list(range(made))}), {}


def test_a_worker_reports_the_tiles_of_a_shard_before_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCAL_SECONDS", 0.0)
    store = Store.open(str(tmp_path))
    tiles = store_tiles(store, "tiles")
    row = {
        "key": "abcdef01", "cell": "net/pgd/test", "shard": f"{store.artifact('tiles', tiles)}/test/part.parquet",
        "take": "", "target": f"{store.artifact('adversarials', 'abcdef01')}/part.parquet", "labels": json.dumps({}),
    }  # fmt: skip
    work = HalfWay(store)
    done = shard_task(row, work, store, Resources())
    assert [(shard.cell, shard.tiles, shard.of) for shard in work.seen] == [("net/pgd/test", 4.0, 8)]
    assert (done["tiles"], store.list_files(FOLDER)) == (len(IDS), [])
