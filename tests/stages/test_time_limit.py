"""Fits that may take a time instead of a number of epochs."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from rich.console import Console

from raypipe.defenses.fast_training import FastTraining
from raypipe.progress.stage import stage_progress
from raypipe.stages import fitting, time_limit
from raypipe.stages.time_limit import TRIAL_STEPS, limit_epochs
from raypipe.stages.watch import get_planned_epochs, watch_fits
from raypipe.stages.workers import SoleWorker
from raypipe.training import fit
from raypipe.training.objective import TILES, cross_entropy
from raypipe.training.recipe import Recipe
from tests.defenses.laboratory import Laboratory
from tests.training.test_fit import dataset, network


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return Laboratory(tmp_path_factory.mktemp("store"), "convnet", epochs=1, sources=8)


class Clock:
    """A clock on which every look takes a second."""

    def __init__(self) -> None:
        self.now = 0

    def perf_counter(self) -> float:
        self.now += 1
        return float(self.now)


@pytest.mark.parametrize(
    ("seconds", "epochs"),
    [(0.1, 1), (9, 1), (10, 2), (27, 5), (1e9, 50)],
)
def test_as_many_epochs_as_fit_in(seconds: float, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time 4 steps of 4 tiles at 1 s: an epoch of 64 tiles takes 4 s, and its validation 1 s."""
    for module in (fit, time_limit):
        monkeypatch.setattr(module, "time", Clock())
    model, tiles = network(), dataset(64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(3)
    limited = limit_epochs(
        seconds,
        model,
        Recipe(epochs=50),
        tiles,
        dataset(8),
        64 // (4 * TRIAL_STEPS),
        worker=SoleWorker(gpu=False),
        objective=cross_entropy,
        input_rule=TILES,
        replays=1,
        score=None,
    )
    assert limited == Recipe(epochs=epochs)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1)), "the trial does not disturb the fit's random numbers"
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), "nor its model"


def test_a_resumed_fit_keeps_its_number_of_epochs(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: Iterator[int] = iter((3, 1))

    def choose(seconds: float, model: Any, recipe: Recipe, *_: Any, **__: Any) -> Recipe:
        return recipe.model_copy(update={"epochs": next(chosen)})

    monkeypatch.setattr(fitting, "limit_epochs", choose)
    defense = FastTraining(epochs=9, seconds=60)
    laboratory.harden(defense, lost_after=1)
    assert len(laboratory.history(defense)) == 3


def test_the_epochs_to_do_follow_what_a_fit_chooses(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count one epoch before the fit has chosen, and its own number afterwards."""

    def choose(seconds: float, model: Any, recipe: Recipe, *_: Any, **__: Any) -> Recipe:
        return recipe.model_copy(update={"epochs": 4})

    monkeypatch.setattr(fitting, "limit_epochs", choose)
    defense, store = FastTraining(epochs=900, seconds=60), laboratory.store
    cell = laboratory.cell(defense)
    expected = get_planned_epochs(cell)
    with stage_progress(Console(file=io.StringIO()), "harden", expected, "epochs") as progress:
        with watch_fits([cell], [cell], store, progress):
            laboratory.harden(defense)
        assert (expected, progress.state.total, progress.state.units) == (1, 4, 4)


def test_a_fit_within_a_time_takes_at_least_an_epoch(laboratory: Laboratory) -> None:
    defense = FastTraining(epochs=3, seconds=1e-6)
    laboratory.harden(defense)
    assert len(laboratory.history(defense)) == 1
