"""Ingest beside another run of the same experiment: shards appear that this run was about to write."""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from raypipe.execution.completion import complete_ingest, list_stage_states
from raypipe.execution.local_executor import LocalExecutor
from raypipe.execution.model_cache import ModelCache
from raypipe.experiment.load import validate_experiment
from raypipe.plan.cells import find_unfinished
from raypipe.plan.listing import prepare
from raypipe.progress.run import run_progress

T = TypeVar("T")
R = TypeVar("R")


class Beside(LocalExecutor):
    """An executor whose tasks another run finishes first."""

    def read_files(
        self, read: Callable[[T], R], tasks: Sequence[T], name: str, say: Callable[[str], None]
    ) -> Iterator[R]:
        """Run a function on every task twice, and yield the second result."""
        for task in tasks:
            read(task)
            yield read(task)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a data set of two classes, with a file that is no image and an empty one."""
    root = tmp_path / "tiles"
    pixels = np.random.default_rng(0)
    for label in ("cancer", "normal"):
        (root / label).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(pixels.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(root / label / f"{number}.png")
    (root / "cancer" / "broken.png").write_bytes(b"not an image")
    (root / "normal" / "empty.png").write_bytes(b"")
    return root


def test_shards_of_another_run_are_counted_with_their_rejected_files(folder: Path, tmp_path: Path) -> None:
    raw: dict[str, Any] = {
        "name": "beside",
        "storage": str(tmp_path / "store"),
        "data": {"source": "folder", "path": str(folder), "group_pattern": "(.*)"},
        "tiles": {"size": 32, "shard_size": 4},
        "models": ["convnet"],
        "attacks": ["fgsm"],
    }
    prepared = prepare(validate_experiment(raw))
    (cell, listing), *_ = prepared.ingests
    executor = Beside(ModelCache(prepared.store, torch.device("cpu"), 8))
    states = tuple(list_stage_states(prepared.plan, find_unfinished(prepared.plan.cells, prepared.store)))
    with run_progress(Console(file=io.StringIO()), prepared.store, "beside", states) as progress:
        complete_ingest(cell, listing.source, listing.items, executor, progress)
    manifest = prepared.store.manifest(cell.kind, cell.key)
    assert manifest is not None
    assert (manifest["tiles"], manifest["rejected"]) == (16, 2)
