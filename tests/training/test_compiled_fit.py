"""A compiled network learns the same as the network itself."""

from functools import partialmethod

import pytest
import torch
from torch import nn

from raypipe.defenses.pgd_training import PgdTraining
from raypipe.training.fit import Fit
from raypipe.training.recipe import Recipe
from tests.training.test_fit import CPU, dataset


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


def test_a_compiled_fit_is_the_plain_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train under attack, with weight perturbation and frozen statistics, with and without a compiler's graphs.

    The backend traces the network and computes its gradients ahead of time, but generates no code, so that no C++
    compiler is needed.
    """
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    defense = PgdTraining(steps=2, awp=0.01, frozen_statistics=0.5)
    states = []
    for compiled in (False, True):
        model = network()
        recipe = Recipe(epochs=2, batch_size=8, compile=compiled)
        steps = defense.prepare_training(model, recipe, model)
        fit = Fit(model, recipe, 3, device=CPU, seed=7, objective=steps.objective)
        assert len(list(fit.epochs(dataset(), 8))) == 2
        states.append(fit.evaluated.state_dict())
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs >= 2, "the attack's graph and the step's"
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], atol=1e-5, rtol=1e-4)


def test_the_setting_leaves_the_keys_of_other_recipes_alone() -> None:
    assert "compile" not in Recipe().model_dump()
    assert Recipe(compile=True).model_dump()["compile"] is True
