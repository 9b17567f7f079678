"""Rows of complete cells in one file each, and the requests that a cell costs."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from raypipe.base.errors import StageError
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.execution.evaluate import PredictShard
from raypipe.execution.executor import complete_cells
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.shards import ShardResult, ShardTask, build_shard_task, process_shard
from raypipe.plan.cells import Cell, EvaluateSpec
from raypipe.progress.stage import StageProgress, stage_progress
from raypipe.storage.costs import Cost, add_cost
from raypipe.storage.errors import StoreError
from raypipe.storage.schemas import PREDICTIONS
from raypipe.storage.store import SUMMARY, Store
from tests.evaluation.handmade import store_tiles


class Writer:
    """An executor that writes one row for each shard, and records what it was asked to do."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.done: list[str] = []
        self.recorded: list[Any] = []

    def read_files(self, *_: Any) -> Iterator[Any]:
        raise NotImplementedError

    def run_shards(self, _: Any, tasks: Sequence[ShardTask], *__: Any) -> Iterator[ShardResult]:
        for task in tasks:
            self.done.append(task.target)
            yield write(task, self.store)

    def record_facts(self, _: str, __: Cell, facts: Any) -> None:
        self.recorded.append(facts)


def write(task: ShardTask, store: Store) -> ShardResult:
    name = task.target.rsplit("/", 1)[1]
    row = {"sample_id": name, "group_id": None, "label": 1, "model_key": "m", "tiles_key": "t", "logits": [0.0, 1.0]}
    table, cost = pa.Table.from_pylist([row], schema=PREDICTIONS), Cost(forwards=1)
    store.write_table(task.target, add_cost(table, cost))
    return ShardResult(task.key, task.target, 1, cost, rows=table)


@pytest.fixture
def progress() -> Iterator[StageProgress]:
    with stage_progress(Console(file=io.StringIO()), "evaluate", 8, "tiles") as progress:
        yield progress


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def plan(store: Store, shards: int = 4) -> tuple[Cell, list[ShardTask]]:
    model = Cell("train", "net", EvaluateSpec(split="train"))
    cell = Cell("evaluate", "net/clean", EvaluateSpec(split="test"), {"model": model, "tiles": model})
    folder = store.artifact("tiles", store_tiles(store, "tiles"))
    return cell, [build_shard_task(cell, f"{folder}/test/{number}.parquet", store) for number in range(shards)]


def count_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return the numbers of files of a store that are read from now on, by the ends of their names."""
    reads: Counter[str] = Counter()
    for method in ("read_table", "read_bytes", "read_schema"):
        original = getattr(Store, method)

        def read(self: Store, path: str, *arguments: Any, original: Any = original) -> Any:
            reads[path.rsplit(".", 1)[1]] += 1
            return original(self, path, *arguments)

        monkeypatch.setattr(Store, method, read)
    return reads


def test_a_cell_is_published_and_read_without_its_shards(
    store: Store, progress: StageProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, tasks = plan(store)
    executor, reads = Writer(store), count_reads(monkeypatch)
    complete_cells(None, tasks, [cell], executor, progress, lambda rows: {"rows": rows.num_rows})
    assert not reads
    assert executor.recorded == [{"rows": 4}]
    predictions = Artifacts(store).read_logits(cell.key)
    assert predictions.ids.tolist() == [f"{number}.parquet" for number in range(4)]
    assert predictions.predicted.tolist() == [1] * 4
    assert reads == {"json": 1, "arrow": 1}


def test_shards_of_an_interrupted_run_are_part_of_the_summary(store: Store, progress: StageProgress) -> None:
    cell, tasks = plan(store)
    for task in (tasks[2], tasks[0]):
        write(task, store)
    executor = Writer(store)
    complete_cells(None, tasks, [cell], executor, progress)
    assert executor.done == [tasks[1].target, tasks[3].target]
    summary = store.read_summary(cell.kind, cell.key, schema=PREDICTIONS)
    assert summary.equals(pa.concat_tables(store.iter_tables(cell.kind, cell.key)).replace_schema_metadata(None))
    manifest = cell.manifest(store)
    assert manifest
    assert manifest["cost"]["forwards"] == 4


def test_pyarrow_reads_the_folder_of_an_artifact_as_one_table(store: Store, progress: StageProgress) -> None:
    cell, tasks = plan(store)
    complete_cells(None, tasks, [cell], Writer(store), progress)
    assert pq.read_table(store.path(store.artifact(cell.kind, cell.key))).num_rows == 4


def test_an_artifact_without_a_summary_is_read_from_its_shards(store: Store) -> None:
    cell, tasks = plan(store)
    for task in tasks:
        write(task, store)
    cell.publish(store, cost=Cost(forwards=4).facts())
    assert len(Artifacts(store).read_logits(cell.key).ids) == 4


def test_a_damaged_summary_is_named(store: Store, progress: StageProgress) -> None:
    cell, tasks = plan(store)
    complete_cells(None, tasks, [cell], Writer(store), progress)
    path = f"{store.artifact(cell.kind, cell.key)}/{SUMMARY}"
    store.write_bytes(path, store.read_bytes(path)[:-20])
    with pytest.raises(StoreError, match=r"_summary.arrow: cannot be read"):
        Artifacts(store).read_logits(cell.key)


def test_a_cell_that_cannot_be_published_is_named(
    store: Store, progress: StageProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise StoreError("cannot write there")

    cell, tasks = plan(store)
    monkeypatch.setattr(Store, "write_summary", fail)
    with pytest.raises(StageError, match="evaluate failed: net/clean: StoreError: cannot write there"):
        complete_cells(None, tasks, [cell], Writer(store), progress)
    assert cell.manifest(store) is None


def test_a_shard_that_another_run_wrote_is_read_from_the_store(store: Store, progress: StageProgress) -> None:
    class Late(Writer):
        def run_shards(self, _: Any, tasks: Sequence[ShardTask], *__: Any) -> Iterator[ShardResult]:
            for task in tasks:
                write(task, self.store)
                yield process_shard(task, PredictShard(), ModelCache(self.store, torch.device("cpu")))

    cell, tasks = plan(store)
    complete_cells(None, tasks, [cell], Late(store), progress)
    assert store.read_summary(cell.kind, cell.key)["sample_id"].to_pylist() == [f"{n}.parquet" for n in range(4)]
