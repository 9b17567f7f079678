"""One plan on a cluster and in this process: the same keys and the same stored results."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from rich.console import Console

from raypipe.data.given import source_of
from raypipe.data.tissue import render_tile
from raypipe.evaluation.settings import Evaluation
from raypipe.execution.evaluation import GivenTiles, complete_evaluation, import_spec, local_executor, spec_of
from raypipe.execution.executor import Executor
from raypipe.execution.finished_model import import_model
from raypipe.execution.stages import stage_states
from raypipe.experiment.load import validate_settings
from raypipe.experiment.schema import Resources
from raypipe.models.backbones import BACKBONES
from raypipe.models.checkpoint import ModelCard, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.models.given import GivenModel, open_model
from raypipe.plan.graph import Plan, plan_evaluation
from raypipe.plan.listing import list_given
from raypipe.plan.pairings import Examination
from raypipe.progress.run import run_progress
from raypipe.stages.executor import ClusterExecutor
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
def model(tmp_path: Path) -> GivenModel:
    half = (0.5, 0.5, 0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier(BACKBONES["convnet"].build(len(LABELS)), half, half)
    file = tmp_path / "model.safetensors"
    file.write_bytes(save_classifier(classifier, ModelCard("convnet", LABELS, SIZE, half, half)))
    return open_model(str(file), LABELS)


@pytest.fixture
def tiles() -> GivenTiles:
    images = np.stack([render_tile(LABELS[place % 2], place, 0, size=SIZE, seed=0) for place in range(12)])
    source = source_of(images, np.arange(12) % 2, LABELS)
    return GivenTiles(list_given(source, source.list()), "", None, (3, SIZE, SIZE))


def complete(plan: Plan, model: GivenModel, tiles: GivenTiles, executor: Executor) -> None:
    (imported,) = plan.stage("import")
    import_model(imported, model, executor.store)
    states = tuple(stage_states(plan, executor.store))
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
    model: GivenModel, tiles: GivenTiles, tmp_path: Path
) -> None:
    exam = Examination({}, validate_settings(Evaluation, EVALUATION, "evaluation"), SIZE, 0)
    several = spec_of(tiles).model_copy(update={"shard_size": 5})
    plan = plan_evaluation("model", import_spec(model, tiles), several, exam)
    here, there = (Store.open(str(tmp_path / name)) for name in ("here", "there"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has
    try:
        complete(plan, model, tiles, local_executor(plan.stage("import")[0], model, here, batch_size=4))
    finally:
        torch.set_num_threads(threads)
    complete(plan, model, tiles, ClusterExecutor(there, Resources(attack_batch=4, attack_actors=2)))
    ours, theirs = stored(here), stored(there)
    assert {key for _, key in ours} == {cell.key for cell in plan.cells}
    assert ours == theirs
    assert sum(row["success"] for (kind, _), rows in ours.items() if kind == "adversarials" for row in rows)
