"""One plan on a cluster and in this process: the same keys and the same stored results."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from rich.console import Console

from raypipe.data.arrays import open_arrays
from raypipe.data.tissue import render_tile
from raypipe.evaluation.settings import Evaluation
from raypipe.execution.completion import list_stage_states
from raypipe.execution.evaluate_model import complete_evaluation
from raypipe.execution.executor import Executor
from raypipe.execution.import_model import describe_model, import_model
from raypipe.execution.local_executor import hold_model
from raypipe.execution.tile_set import TileSet, describe_tiles
from raypipe.experiment.load import validate_settings
from raypipe.experiment.schema import Resources
from raypipe.models.backbones import BACKBONES
from raypipe.models.checkpoint import ModelCard, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.models.finished_model import FinishedModel, open_model
from raypipe.plan.cells import find_unfinished
from raypipe.plan.files import list_test_tiles
from raypipe.plan.graph import Plan, plan_evaluation
from raypipe.plan.pairings import Examination
from raypipe.progress.run import run_progress
from raypipe.stages.cluster_executor import ClusterExecutor
from raypipe.storage.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("two_nodes")]
LABELS = ("colon_aca", "colon_n")
SIZE = 32
KINDS = ("tiles", "model", "adversarials", "diagnostics", "predictions")
EVALUATION: dict[str, Any] = {
    "attacks": {"deepfool": {"name": "deepfool", "max_iterations": 3}},
    "bounded": {"name": "pgd", "max_iterations": 2},
    "autoattack": {"max_iterations": 2, "max_queries": 2},
    "curves": {"linf": [4 / 255]},
    "checks": {"eps": 4 / 255, "max_queries": 2, "planted_tiles": 15},
    "transfer": False,
}


@pytest.fixture
def model(tmp_path: Path) -> FinishedModel:
    half = (0.5, 0.5, 0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier(BACKBONES["convnet"].build(len(LABELS)), half, half)
    file = tmp_path / "model.safetensors"
    file.write_bytes(save_classifier(classifier, ModelCard("convnet", LABELS, SIZE, half, half)))
    return open_model(str(file), LABELS)


@pytest.fixture
def tiles() -> TileSet:
    images = np.stack([render_tile(LABELS[place % 2], place, 0, size=SIZE, seed=0) for place in range(12)])
    source = open_arrays(images, np.arange(12) % 2, LABELS)
    return TileSet(list_test_tiles(source, source.list()), "", None, (3, SIZE, SIZE))


def complete(plan: Plan, model: FinishedModel, tiles: TileSet, executor: Executor) -> None:
    (import_cell,) = plan.stage("import")
    import_model(import_cell, model, executor.store)
    states = tuple(list_stage_states(plan, find_unfinished(plan.cells, executor.store)))
    with run_progress(Console(file=io.StringIO()), executor.store, "model", states) as progress:
        complete_evaluation(plan, tiles, executor, progress)


def stored(store: Store) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows of every artifact without its times."""
    found = {}
    for kind in KINDS:
        for key in store.list_directories(f"artifacts/{kind}"):
            assert store.manifest(kind, key) is not None
            tables = [table for part in ("", "test") for table in store.iter_tables(kind, key, part)]
            rows = pa.concat_tables(tables).to_pylist() if tables else []
            found[kind, key] = [{name: row[name] for name in row if name != "seconds"} for row in rows]
    return found


def test_a_cluster_and_one_process_store_the_same_results_under_the_same_keys(
    model: FinishedModel, tiles: TileSet, tmp_path: Path
) -> None:
    exam = Examination({}, validate_settings(Evaluation, EVALUATION, "evaluation"), SIZE, 0)
    several = describe_tiles(tiles).model_copy(update={"shard_size": 5})
    plan = plan_evaluation("model", describe_model(model, tiles.shape), several, exam)
    here, there = (Store.open(str(tmp_path / name)) for name in ("here", "there"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has
    try:
        complete(plan, model, tiles, hold_model(plan.stage("import")[0], model.network, here, batch_size=4))
    finally:
        torch.set_num_threads(threads)
    complete(plan, model, tiles, ClusterExecutor(there, Resources(attack_batch=4, attack_actors=2)))
    ours, theirs = stored(here), stored(there)
    assert {key for _, key in ours} == {cell.key for cell in plan.cells}
    assert ours == theirs
    assert sum(row["success"] for (kind, _), rows in ours.items() if kind == "adversarials" for row in rows)
