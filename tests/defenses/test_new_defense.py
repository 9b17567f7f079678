"""A new defense is one file and one line in the registry: the test follows CONTRIBUTING.md with a toy defense."""

import importlib
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from raypipe.base.errors import ConfigError
from raypipe.defenses import DEFENSES
from raypipe.evaluation.predict import predict
from raypipe.execution.forecast.defense_work import count_training_steps
from raypipe.experiment.load import validate_experiment
from tests.defenses.laboratory import Laboratory
from tests.recipes import ROOT, read_example

pytestmark = pytest.mark.xdist_group("laboratory")  # in one process, which draws its tiles once


@pytest.fixture
def noise_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """Write the file that CONTRIBUTING.md shows, and add its class to the registry."""
    (tmp_path / "noise_training.py").write_text(read_example("raypipe/defenses/noise_training.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    settings: type[Any] = importlib.import_module("noise_training").NoiseTraining
    monkeypatch.setitem(DEFENSES, "noise_training", settings)
    return settings


def experiment(**settings: Any) -> dict[str, Any]:
    base = {"name": "toy", "data": {"source": "synthetic"}, "models": ["convnet"], "attacks": ["fgsm"]}
    return {**base, "defenses": {"noise_training": settings}}


def test_an_experiment_can_name_it_and_its_settings_are_checked(noise_training: type[Any]) -> None:
    read = validate_experiment(experiment(sigma=0.2))
    assert read.defenses["noise_training"] == noise_training(sigma=0.2)
    with pytest.raises(ConfigError, match=r"defenses\.noise_training\.sigma"):
        validate_experiment(experiment(sigma=-1))


def test_it_hardens_a_model(noise_training: type[Any], laboratory: Laboratory) -> None:
    defense = noise_training(epochs=1)
    images, _ = laboratory.test_tiles()
    cpu = torch.device("cpu")
    before, after = (predict(model, images, 16, cpu) for model in (laboratory.clean, laboratory.harden(defense)))
    assert before.shape == after.shape
    assert not (before == after).all()
    assert laboratory.history(defense)[0]["forwards"] > 0


def test_its_cost_and_its_row_in_the_documentation_need_nothing_else(noise_training: type[Any]) -> None:
    assert count_training_steps(noise_training()) == 1
    rows = runpy.run_path(str(ROOT / "docs" / "generate.py"))["defense_rows"]()
    (row,) = (row for row in rows if "noise_training" in row)
    title = "Noise training: learn tiles with Gaussian noise"
    assert row == f"| `noise_training` | {title} | Zantedeschi et al., 2017, arXiv:1707.06728 |"
