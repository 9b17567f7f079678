"""Trials of a model run once: every later process finds their results in the store."""

from pathlib import Path
from typing import Any

import pytest
import torch

from raypipe.attacks.engine import prepare as preparation
from raypipe.execution import trial_records
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.trial_records import copy_trials, read_trials
from raypipe.models.checkpoint import ModelCard, save_classifier
from raypipe.models.classifier import Classifier, Model, build_classifier
from raypipe.models.model_file import MODEL_FILE
from raypipe.plan.cells import Cell, TrainSpec
from raypipe.stages.fit_files import publish_model
from raypipe.storage.errors import StoreError
from raypipe.storage.store import Store
from raypipe.training.recipe import Recipe

CPU = torch.device("cpu")
SHAPE, KEY = (3, 32, 32), "0123456789abcdef0123"
CARD = ModelCard("shufflenet_v2_x1_0", ("a", "b"), 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def foldings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that gets an entry for every comparison in double precision."""
    calls: list[Any] = []
    find = preparation.find_folding

    def count(*arguments: Any) -> Any:
        calls.append(arguments)
        return find(*arguments)

    monkeypatch.setattr(preparation, "find_folding", count)
    return calls


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with a model that an older raypipe wrote, without trials."""
    store = Store.open(str(tmp_path))
    store.write_bytes(f"{store.artifact('model', KEY)}/{MODEL_FILE}", save_classifier(_classifier(), CARD))
    return store


def _classifier() -> Classifier:
    torch.manual_seed(0)
    return build_classifier(Model(name=CARD.backbone), len(CARD.labels)).eval()


def test_a_model_is_tried_once_for_all_workers_and_tile_sizes(store: Store, foldings: list[Any]) -> None:
    first = ModelCache(store, CPU).prepare(KEY, SHAPE)
    again = ModelCache(store, CPU).prepare(KEY, SHAPE)
    assert len(foldings) == 1
    assert again.trials == first.trials
    assert again.folded
    assert again.batch_size == first.batch_size
    images = torch.rand(2, *SHAPE)
    assert torch.equal(again.fast(images), first.fast(images))
    ModelCache(store, CPU).prepare(KEY, (3, 48, 48))
    assert len(foldings) == 2


def test_a_trained_model_is_tried_where_it_is_published(tmp_path: Path, foldings: list[Any]) -> None:
    store = Store.open(str(tmp_path))
    cell = Cell("train", "model", TrainSpec(model=Model(name=CARD.backbone), recipe=Recipe(epochs=1), seed=0))
    publish_model(cell, _classifier(), CARD, store)
    assert len(foldings) == 1
    assert ModelCache(store, CPU).prepare(cell.key, SHAPE).folded
    assert len(foldings) == 1
    copy_trials(store, cell.key, KEY)
    assert read_trials(store, KEY, SHAPE, CPU) == read_trials(store, cell.key, SHAPE, CPU)


def test_a_batch_size_of_the_experiment_is_not_recorded(store: Store) -> None:
    assert ModelCache(store, CPU, batch_size=3).prepare(KEY, SHAPE).batch_size == 3
    trials = read_trials(store, KEY, SHAPE, CPU)
    assert trials
    assert trials.batch_size is None
    assert ModelCache(store, CPU).prepare(KEY, SHAPE).batch_size == 64


def test_other_versions_of_the_networks_need_a_new_trial(
    store: Store, foldings: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ModelCache(store, CPU).prepare(KEY, SHAPE)
    monkeypatch.setattr(trial_records, "_read_versions", lambda: {"version": 1, "software": {"torch": "another"}})
    assert read_trials(store, KEY, SHAPE, CPU) is None
    ModelCache(store, CPU).prepare(KEY, SHAPE)
    assert len(foldings) == 2


def test_a_model_in_memory_is_tried_by_each_process(store: Store, foldings: list[Any]) -> None:
    for count in (1, 2):
        models = ModelCache(store, CPU, in_memory={KEY: _classifier()})
        models.prepare(KEY, SHAPE)
        models.prepare(KEY, SHAPE)
        assert len(foldings) == count


def test_a_damaged_record_is_named(store: Store) -> None:
    ModelCache(store, CPU).prepare(KEY, SHAPE)
    path = f"{store.artifact('model', KEY)}/trials/cpu-3x32x32.json"
    store.write_record(path, {**store.read_record(path), "channels_last": "maybe"})
    with pytest.raises(StoreError, match=r"cpu-3x32x32.json: cannot be read"):
        ModelCache(store, CPU).prepare(KEY, SHAPE)
