"""A worker on one shard, called in this process."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console

from raypipe.attacks.engine import headway
from raypipe.execution.executor import complete_cells
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.shards import Figures, ShardTask, build_shard_task, process_shard
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell, EvaluateSpec, find_unfinished
from raypipe.progress import shards as files
from raypipe.progress.pace import get_kind
from raypipe.progress.shards import FOLDER, ShardState
from raypipe.progress.stage import describe_stage, stage_progress
from raypipe.progress.state import RunState
from raypipe.stages import cluster_executor
from raypipe.stages.cluster_executor import ClusterExecutor
from raypipe.stages.ray_map import Item
from raypipe.storage.store import Store
from tests.evaluation.handmade import IDS, store_tiles


class HalfWay:
    """Work that reports half of its tiles, and looks at what others see of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seen: list[ShardState] = []

    def compute(self, task: ShardTask, models: ModelCache, tiles: pa.Table, images: NDArray[np.uint8]) -> int:
        headway.report(len(images) / 2)
        names = self.store.list_files(FOLDER)
        self.seen = [ShardState.model_validate_json(self.store.read_bytes(f"{FOLDER}/{name}")) for name in names]
        return len(images)

    def tabulate(self, task: ShardTask, tiles: pa.Table, made: Any) -> tuple[pa.Table, Figures]:
        return pa.table({"tile": list(range(made))}), {}


def test_a_worker_reports_the_tiles_of_a_shard_before_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCAL_SECONDS", 0.0)
    store = Store.open(str(tmp_path))
    tiles = store_tiles(store, "tiles")
    shard, target = f"{store.artifact('tiles', tiles)}/test/part.parquet", store.artifact("adversarials", "abcdef01")
    task = ShardTask("net/pgd/test", "abcdef01", None, "model", tiles, shard, f"{target}/part.parquet")
    work = HalfWay(store)
    done = process_shard(task, work, ModelCache(store, torch.device("cpu")))
    assert [(shard.cell, shard.tiles, shard.of) for shard in work.seen] == [("net/pgd/test", 4.0, 8)]
    assert (done.tiles, store.list_files(FOLDER)) == (len(IDS), [])


def test_a_stage_follows_its_shards_and_publishes_its_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the shards one after the other in this process, in the place of a cluster."""

    def one_by_one(work: Any, items: list[Item], resources: Resources, **given: Any) -> Iterator[Item]:
        yield from (work(item, **given["setup"]) for item in items)

    monkeypatch.setattr(cluster_executor, "map_items", one_by_one)
    store = Store.open(str(tmp_path))
    tiles = store_tiles(store, "tiles")
    shard = f"{store.artifact('tiles', tiles)}/test/part.parquet"
    models = [Cell("train", name, EvaluateSpec(split=split)) for name, split in (("net", "train"), ("other", "test"))]
    cells = [
        Cell("attack", f"{model.name}/pgd/test", EvaluateSpec(split="test"), {"model": model, "tiles": model})
        for model in models
    ]
    state = RunState(run="tiny", stages=[describe_stage("attack", cells, find_unfinished(cells, store))])
    with stage_progress(Console(file=io.StringIO()), "attack", 16, "tiles", run=state) as progress:
        progress.expect(cells, [8, 8], {cells[1].key: 16.0})
        progress.learn_from(cells, store)
        tasks = [build_shard_task(cell, shard, store) for cell in cells]
        complete_cells(HalfWay(store), tasks, cells, ClusterExecutor(store, Resources()), progress)
        assert progress.pace.left == {get_kind(cell): 0 for cell in cells}
    assert all(cell.manifest(store) for cell in cells)
    assert (state.stages[0].whole.done, state.stages[0].whole.units, state.stages[0].in_work) == (2, 16, {})
