"""Trainings side by side on a real cluster: each backbone in one process, without a group of workers."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from raypipe.experiment.schema import Resources
from raypipe.models.artifacts import load_model
from raypipe.models.classifier import Model
from raypipe.plan.cells import Cell, TrainSpec
from raypipe.progress.stage import stage_progress
from raypipe.stages.train import _train_cell, train
from raypipe.stages.workers import SoleWorker
from raypipe.training.recipe import Recipe
from tests.defenses.laboratory import Laboratory

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("two_nodes")]
RECIPE = Recipe(epochs=2, batch_size=16, validation=0.2)


def test_backbones_that_train_side_by_side_get_the_weights_that_they_get_alone(tmp_path: Path) -> None:
    together, alone = (Laboratory(tmp_path / name, "convnet", epochs=1, sources=10) for name in ("together", "alone"))
    specs = {f"convnet-{seed}": TrainSpec(model=Model(name="convnet"), recipe=RECIPE, seed=seed) for seed in (1, 2)}
    cells = [Cell("train", name, spec, {"tiles": together.tiles}) for name, spec in specs.items()]
    text = io.StringIO()
    with stage_progress(Console(file=text, width=160), "train", 4, "epochs", detail="verbose") as progress:
        train(cells, together.store, Resources(), progress)
    assert "2 of 2 models at a time, each in one process" in text.getvalue(), "the default chooses"
    assert text.getvalue().count("epoch 2/2") == 2
    for cell in cells:
        _train_cell(cell, alone.store, SoleWorker(gpu=False), 0)
        here, there = (load_model(each.store, cell.key)[0].state_dict() for each in (together, alone))
        for name, values in here.items():
            assert torch.allclose(values.float(), there[name].float(), atol=1e-5), (cell.name, name)
