"""Universal perturbations in a plan: from the settings to the transfer matrix."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import raypipe
from raypipe.base.errors import ConfigError
from raypipe.data.tiles import decode_images
from raypipe.evaluation.predict import predict
from raypipe.evaluation.results.patterns import parse_pattern
from raypipe.execution.completion import ATTACK, complete_attacks, complete_ingest, complete_tests, list_stage_states
from raypipe.execution.finish_run import FinishedRun, finish_run
from raypipe.execution.local_executor import LocalExecutor
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.universal import find_patterns
from raypipe.experiment.load import validate_experiment
from raypipe.models.artifacts import load_model
from raypipe.models.backbones import BACKBONES
from raypipe.models.checkpoint import ModelCard, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.models.model_file import MODEL_FILE
from raypipe.plan.cells import Cell, find_unfinished
from raypipe.plan.listing import Prepared, prepare
from raypipe.progress.run import RunProgress, run_progress
from raypipe.report.layout import Book
from raypipe.report.universal import (
    build_universal_heat,
    draw_patterns,
    tabulate_universal,
    tabulate_universal_transfer,
)
from raypipe.storage.store import Store

CPU = torch.device("cpu")
SIZE = 32
RAW: dict[str, Any] = {
    "name": "patterns",
    "data": {"source": "synthetic", "sources_per_class": 4, "siblings": 2, "size": SIZE},
    "tiles": {"size": SIZE, "shard_size": 5},
    "models": {"one": {"name": "convnet"}, "two": {"name": "convnet_medium"}},
    "attacks": ["fgsm"],
    "evaluation": {
        "checks": None,
        "curves": {},
        "autoattack": None,
        "tiles": 7,
        "universal": {"eps": 8 / 255, "tiles": 12, "epochs": 2},
    },
}


def store_model(cell: Cell, store: Store, seed: int) -> None:
    """Store an untrained network as the model of a cell."""
    half = (0.5, 0.5, 0.5)
    labels = cell.inputs["tiles"].spec.labels
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = Classifier(BACKBONES["convnet"].build(len(labels)), half, half)
    data = save_classifier(classifier, ModelCard("convnet", labels, SIZE, half, half))
    store.write_bytes(f"{store.artifact(cell.kind, cell.key)}/{MODEL_FILE}", data)
    cell.publish(store)


def complete(prepared: Prepared, executor: LocalExecutor, progress: RunProgress) -> None:
    plan = prepared.plan
    for cell, listing in prepared.ingests:
        complete_ingest(cell, listing.source, listing.items, executor, progress)
    for seed, cell in enumerate(plan.stage("train")):
        store_model(cell, prepared.store, seed)
    complete_attacks(plan, ATTACK, executor, progress)
    complete_tests(plan, executor, progress)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Return an experiment with two untrained models whose patterns are made and tested."""
    storage = str(tmp_path_factory.mktemp("store"))
    prepared = prepare(validate_experiment({**RAW, "storage": storage}))
    executor = LocalExecutor(ModelCache(prepared.store, CPU, 8))
    states = tuple(list_stage_states(prepared.plan, find_unfinished(prepared.plan.cells, prepared.store)))
    with run_progress(Console(file=io.StringIO()), prepared.store, "patterns", states) as progress:
        complete(prepared, executor, progress)
    return prepared


@pytest.fixture(scope="module")
def end(finished: Prepared) -> FinishedRun:
    settings = finished.experiment.model_dump(mode="json")
    return finish_run("patterns", finished.plan, finished.listings[0].source, "synthetic", settings, finished.store)


def test_every_model_is_tested_with_the_pattern_of_every_model(finished: Prepared, end: FinishedRun) -> None:
    rows = end.result.universal.to_pylist()
    assert [(row["subject"], row["source"]) for row in rows] == [
        (subject, source) for subject in ("one", "two") for source in ("one", "two")
    ]
    assert {row["tiles"] for row in rows} == {7}
    assert len(finished.plan.stage("pattern")) == 2


def test_predictions_are_those_of_eight_bit_tiles_with_the_pattern(finished: Prepared) -> None:
    store = finished.store
    (test,) = (test for test in finished.plan.universal if (test.subject.name, test.source.name) == ("two", "one"))
    pattern = test.predictions.inputs["pattern"]
    (stored,) = store.iter_tables("patterns", pattern.key)
    change, random = parse_pattern(stored)
    assert np.abs(change).max() <= 8
    assert np.abs(random).max() == 8
    model, _ = load_model(store, test.subject.cell.key)
    tiles = {}
    for table in store.iter_tables("tiles", test.subject.tiles.key, "test"):
        images = np.clip(decode_images(table).astype(int) + change, 0, 255).astype(np.uint8)
        tiles |= dict(zip(table["sample_id"].to_pylist(), predict(model, images, 8, CPU).argmax(1), strict=True))
    for table in store.iter_tables("perturbed", test.predictions.key):
        for row in table.to_pylist():
            assert row["prediction"] == tiles[row["sample_id"]]


def test_a_finished_pattern_is_not_made_again(finished: Prepared) -> None:
    (first, *_) = finished.plan.stage("pattern")
    (path,) = finished.store.shards(first.kind, first.key)
    before = finished.store.read_table(path)
    executor = LocalExecutor(ModelCache(finished.store, CPU, 8))
    states = tuple(list_stage_states(finished.plan, find_unfinished(finished.plan.cells, finished.store)))
    with (
        run_progress(Console(file=io.StringIO()), finished.store, "patterns", states) as progress,
        progress.stage("pattern", 1, "cells") as stage,
    ):
        find_patterns(finished.plan.stage("pattern"), executor, stage)
        assert stage.state.whole.units == 0
    assert finished.store.read_table(path).equals(before)


def test_the_report_shows_the_tables_the_matrix_and_the_patterns(finished: Prepared, end: FinishedRun) -> None:
    book = Book.from_result(end.result)
    own, transfer, heat = tabulate_universal(book), tabulate_universal_transfer(book), build_universal_heat(book)
    assert own is not None
    assert transfer is not None
    assert heat is not None
    assert (own.rows, transfer.rows) == (2, 4)
    assert [len(cells) for _, cells in heat.rows] == [2, 2]
    pictures = list(draw_patterns(end.run, book, finished.store))
    assert len(pictures) == 2
    assert {picture.factor for picture in pictures} == {127 // 8}
    assert all(picture.sizes["linf"] <= 8 / 255 for picture in pictures)
    page = Path(end.report).read_text(encoding="utf-8")
    assert page.count("Universal perturbation of") == 2
    assert pictures[0].difference in page


def test_no_tile_is_pictured_if_its_terms_forbid_it(finished: Prepared, end: FinishedRun) -> None:
    withheld = end.run.model_copy(update={"restriction": "not ours"})
    assert not list(draw_patterns(withheld, Book.from_result(end.result), finished.store))


def test_without_transfer_each_model_meets_its_own_pattern(tmp_path: Path) -> None:
    evaluation = {**RAW["evaluation"], "transfer": False}
    plan = prepare(validate_experiment({**RAW, "storage": str(tmp_path), "evaluation": evaluation})).plan
    assert [(test.subject.name, test.source.name) for test in plan.universal] == [("one", "one"), ("two", "two")]


def test_a_pattern_adds_cells_and_changes_no_other(tmp_path: Path) -> None:
    with_pattern = prepare(validate_experiment({**RAW, "storage": str(tmp_path)})).plan
    evaluation = {**RAW["evaluation"], "universal": None}
    without = prepare(validate_experiment({**RAW, "storage": str(tmp_path), "evaluation": evaluation})).plan
    keys = {cell.key for cell in without.cells}
    added = [cell.stage for cell in with_pattern.cells if cell.key not in keys]
    assert keys < {cell.key for cell in with_pattern.cells}
    assert sorted(added) == ["pattern"] * 2 + ["perturb"] * 4


def test_a_finished_model_has_no_training_tiles_to_make_a_pattern_from(tmp_path: Path) -> None:
    images, labels = np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1])
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    with pytest.raises(ConfigError, match="universal: the pattern is made from training tiles"):
        raypipe.evaluate(model, images, labels, ["fgsm"], to=str(tmp_path / "new"), universal={"eps": "8/255"})
