"""A fit in one process: what is validated, and when."""

from pathlib import Path

from raypipe.models.classifier import Model
from raypipe.plan.cells import Cell, TrainSpec
from raypipe.stages.train import _train_cell
from raypipe.stages.workers import SoleWorker
from raypipe.training.recipe import Recipe
from tests.defenses.laboratory import Laboratory


def train(laboratory: Laboratory, **recipe: object) -> tuple[str, list[dict[str, float]]]:
    """Return the content key of a training and its history."""
    settings = Recipe.model_validate({"epochs": 7, "batch_size": 16, "validation": 0.2, **recipe})
    spec = TrainSpec(model=Model(name="convnet"), recipe=settings, seed=0)
    cell = Cell("train", "convnet", spec, {"tiles": laboratory.tiles})
    _train_cell(cell, laboratory.store, SoleWorker(gpu=False), 0)
    manifest = cell.manifest(laboratory.store)
    assert manifest
    return cell.key, manifest["history"]


def test_epochs_between_validations_are_not_validated(tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path, "convnet", epochs=1, sources=10)
    usual_key, usual = train(laboratory)
    key, rare = train(laboratory, validation_interval=3)
    assert [epoch["epoch"] for epoch in usual if epoch["validation_loss"] is not None] == [1, 2, 3, 4, 5, 6, 7]
    assert [epoch["epoch"] for epoch in rare if epoch["validation_loss"] is not None] == [3, 6, 7]
    assert [epoch["loss"] for epoch in rare] == [epoch["loss"] for epoch in usual]
    assert rare[-1]["validation_loss"] == usual[-1]["validation_loss"]
    assert key != usual_key
    assert train(laboratory, validation_interval=1)[0] == usual_key
