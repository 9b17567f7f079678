"""The search of a defense's settings on a cluster: bad candidates are stopped, and none is trained twice."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from rich.console import Console

from raypipe.attacks.pgd import ProjectedGradient
from raypipe.data.reading.png import decode_png, encode_png
from raypipe.defenses.fast_training import FastTraining
from raypipe.evaluation.judge import measure_robust_accuracy
from raypipe.experiment.schema import Resources
from raypipe.models.artifacts import load_model
from raypipe.models.classifier import Model
from raypipe.plan.cells import Cell, HardenSpec, IngestSpec, TrainSpec, list_candidates
from raypipe.progress.stage import stage_progress
from raypipe.stages import harden as harden_stage
from raypipe.stages import search
from raypipe.stages.candidate_records import CandidateRecord, rate_candidate, write_candidate
from raypipe.stages.harden import _harden_cell, harden
from raypipe.stages.train import _train_cell
from raypipe.stages.workers import SoleWorker
from raypipe.storage.schemas import TILES
from raypipe.storage.store import Store
from raypipe.training.examples import read_examples
from raypipe.training.recipe import Recipe

EPOCHS, SIZE = 4, 32
GOOD, BAD, WILD = 3e-3, 1e-9, 1e30
"""Learning rates: one that learns, one that learns nothing, and one whose loss is not finite."""


def store_tiles(store: Store) -> Cell:
    """Store training tiles that are dark or bright, and no test tile at all, and return their cell."""
    spec = IngestSpec(
        scaled_decoding=False, fingerprint="gray", labels=("dark", "bright"), size=SIZE, split="group", assignment="",
        shard_size=99, seed=0,
    )  # fmt: skip
    tiles = Cell("ingest", "tiles", spec)
    random = np.random.default_rng(0)
    rows = [
        {
            "sample_id": f"{label}-{number}",
            "image": {"bytes": encode_png(random.integers(low, low + 60, (SIZE, SIZE, 3)).astype(np.uint8))},
            "label": label,
            "group_id": f"{label}-{number}",
        }
        for number in range(24)
        for label, low in enumerate((40, 160))
    ]
    store.write_table(f"{store.artifact('tiles', tiles.key)}/train/part-0.parquet", pa.Table.from_pylist(rows, TILES))
    tiles.publish(store)
    return tiles


def searching_cell(store: Store, **changes: Any) -> Cell:
    """Return the cell of a search whose first candidate has the good learning rate, on an untrained model."""
    tiles = store_tiles(store)
    recipe = Recipe(recipe="paper", epochs=1, batch_size=16, learning_rate=BAD, validation=0.25)
    trained = Cell("train", "convnet", TrainSpec(model=Model(name="convnet"), recipe=recipe, seed=0), {"tiles": tiles})
    _train_cell(trained, store, SoleWorker(gpu=False), 0)
    judge = ProjectedGradient(eps=8 / 255, max_iterations=5, early_stop=True)
    space = {"learning_rate": [GOOD, BAD, WILD]}
    for seed in range(99):
        defense = FastTraining(epochs=EPOCHS, search={"space": space, "seed": seed, "reduction": 2, **changes})
        if defense.list_candidates()[0].learning_rate == GOOD:
            break
    spec = HardenSpec(defense=defense, recipe=recipe, seed=0, judge=judge)
    return Cell("harden", "convnet/fast_training", spec, {"tiles": tiles, "model": trained})


def run(cell: Cell, store: Store) -> str:
    """Run the hardening stage, and return what it prints."""
    console = Console(file=io.StringIO(), width=200)
    with stage_progress(console, "harden", 1, "epochs") as progress:
        harden([cell], store, Resources(harden_workers=0), progress)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("two_nodes")
def test_a_search_stops_bad_candidates_and_trains_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "find_room", lambda *_, **__: 1)  # one after the other, so that the good one is first
    store = Store.open(str(tmp_path))
    cell = searching_cell(store)
    text = run(cell, store)

    manifest = cell.manifest(store)
    assert manifest
    records = {record["defense"]["learning_rate"]: record for record in manifest["candidates"]}
    assert {rate: record["state"] for rate, record in records.items()} == {
        GOOD: "finished",
        BAD: "stopped",
        WILD: "diverged",
    }
    assert records[GOOD]["epochs"] == EPOCHS
    assert records[BAD]["epochs"] < EPOCHS
    assert records[GOOD]["score"] > records[BAD]["score"]
    assert "diverged in epoch 1" in records[WILD]["reason"]
    assert manifest["chosen"] == records[GOOD]["key"]
    assert f"stopped after epoch {records[BAD]['epochs']} of {EPOCHS}" in text
    assert "of 3 candidates (1 finished, 1 stopped, 1 diverged)" in text
    best = next(trial for trial in list_candidates(cell) if trial.key == manifest["chosen"])
    weights = [store.read_bytes(f"{store.artifact('model', each.key)}/model.safetensors") for each in (cell, best)]
    assert weights[0] == weights[1]
    assert manifest["cost"]["forwards"] > (best.manifest(store) or {})["cost"]["forwards"], "all candidates count"

    def refuse(*_: Any) -> None:
        raise AssertionError("a finished candidate is trained again")

    monkeypatch.setattr(harden_stage, "_harden_cell", refuse)
    run(cell, store)  # nothing is missing
    store.remove(store.artifact("model", cell.key))  # as if the run had been stopped before its choice
    epoch = {"epoch": 1, "score": 0.5, "forwards": 1, "backwards": 1, "seconds": 1.0}
    by_key = {each.key: each for each in list_candidates(cell)}
    write_candidate(cell, by_key[records[BAD]["key"]], CandidateRecord("stopped", (epoch,)), store)
    write_candidate(cell, by_key[records[WILD]["key"]], CandidateRecord("diverged"), store)
    run(cell, store)
    assert (cell.manifest(store) or {})["chosen"] == manifest["chosen"]


def test_tpe_continues_with_the_rounds_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Score candidates by their learning rate instead of training them, and interrupt the second round."""
    store = Store.open(str(tmp_path))
    space = {"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}}
    settings = {"space": space, "samples": 6, "searcher": "tpe", "per_round": 2}
    defense = FastTraining(epochs=1, search=settings)
    cell = Cell("harden", "convnet/fast_training", HardenSpec(defense=defense, recipe=Recipe(), seed=0))
    rounds, published = list[list[float]](), list[list[Cell]]()
    monkeypatch.setattr(search, "_publish_chosen", lambda _, found, *__: published.append(found))

    def pretend(cell: Cell, found: list[Cell], *_: Any) -> None:
        rounds.append([each.spec.defense.learning_rate for each in found])
        for each in found:
            epoch = {"epoch": 1, "score": each.spec.defense.learning_rate}
            write_candidate(cell, each, CandidateRecord("stopped", (epoch,)), store)
        if len(rounds) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(search, "_train_candidates", pretend)
    with stage_progress(Console(file=io.StringIO()), "harden", 1, "epochs") as progress:
        with pytest.raises(KeyboardInterrupt):
            search.search_settings(cell, lambda *_: None, store, Resources(), progress)
        search.search_settings(cell, lambda *_: None, store, Resources(), progress)
    assert [len(each) for each in rounds] == [2, 4, 2, 4, 6]
    assert rounds[3] == rounds[1] == rounds[4][:4], "the second run goes the same way"
    assert len({each.key for each in published[0]}) == 6


def test_a_candidate_is_rated_on_held_out_training_tiles_under_the_judge(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    cell = searching_cell(store)
    candidate = list_candidates(cell)[0]
    _harden_cell(candidate, store, SoleWorker(gpu=False), 0)
    history = (candidate.manifest(store) or {})["history"]
    assert len(history) == EPOCHS
    _, held_out = read_examples(store, "tiles", cell.inputs["tiles"].key, "train").hold_out(0.25, 0)
    images = np.stack([decode_png(image) for image in held_out.images])
    model, _ = load_model(store, candidate.key)
    labels = np.array(held_out.labels)
    expected = measure_robust_accuracy(model, images, labels, cell.spec.judge, torch.device("cpu"))
    assert history[-1]["score"] == expected > 0.5, "the last epoch is kept"

    few = cell.spec.model_copy(update={"defense": candidate.spec.defense, "judged_tiles": 3})
    rated = Cell("harden", "few", few, cell.inputs)
    _harden_cell(rated, store, SoleWorker(gpu=False), 0)
    scores = [epoch["score"] for epoch in (rated.manifest(store) or {})["history"]]
    assert all(round(3 * score) == pytest.approx(3 * score) for score in scores)
    assert rated.key != candidate.key


def test_the_rating_is_that_of_the_last_epoch_unless_the_best_is_kept() -> None:
    history = [{"score": 0.5}, {"score": None}, {"score": 0.8}, {"score": 0.7}]
    last = Cell("harden", "a", HardenSpec(defense=FastTraining(), recipe=Recipe(), seed=0))
    best = Cell("harden", "b", HardenSpec(defense=FastTraining(early_stopping=True), recipe=Recipe(), seed=0))
    assert rate_candidate(last, history) == 0.7
    assert rate_candidate(best, history) == 0.8
    assert rate_candidate(last, [{"score": None}]) is None
