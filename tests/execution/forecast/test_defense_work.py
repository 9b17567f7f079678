"""The passes of a defense, counted on a tiny network and compared with the numbers in its paper."""

from pathlib import Path
from typing import Any

import pytest
import torch

from raypipe.defenses import DEFENSES
from raypipe.defenses.base import CertifiedDefense, StaticTraining
from raypipe.execution.forecast.defense_work import (
    count_certificate_passes,
    count_prediction_passes,
    count_training_steps,
)
from raypipe.experiment.load import load_experiment

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "settings", "steps"),
    [
        ("adversarial_training", {}, 1),
        ("pgd_training", {"steps": 7}, 8),
        ("pgd_training", {"steps": 7, "awp": 0.005}, 9),
        ("pgd_training", {"steps": 7, "eps_ramp": (0.5, 0.5)}, 4.5),  # plain steps in the first half
        ("trades", {"steps": 7}, 9),
        ("trades", {"steps": 7, "awp": 0.005}, 11),
        ("fast_training", {}, 2),
        ("free_training", {"replays": 4}, 4),
        ("ddn_training", {"iterations": 20}, 21),
        ("interval_bound_propagation", {}, 3),
        ("defensive_distillation", {}, 4 / 3),  # with the teacher's forward pass
    ],
)
def test_training_takes_as_many_plain_steps(name: str, settings: dict[str, Any], steps: float) -> None:
    assert count_training_steps(DEFENSES[name].model_validate(settings)) == pytest.approx(steps)


@pytest.mark.parametrize("name", sorted(DEFENSES))
def test_each_defense_is_counted_without_a_hint(name: str) -> None:
    small = {"steps": 2} if name == "defense_gan" else {}
    defense = DEFENSES[name].model_validate(small)
    assert count_training_steps(defense) > 0
    assert count_prediction_passes(defense) == (16 if name == "randomized_smoothing" else 1)


@pytest.mark.parametrize(
    ("name", "settings", "passes"),
    [("randomized_smoothing", {"selection": 50, "estimation": 200}, 250), ("interval_bound_propagation", {}, 29)],
)
def test_a_certificate_takes_as_many_passes(name: str, settings: dict[str, Any], passes: int) -> None:
    defense = DEFENSES[name].model_validate(settings)
    assert isinstance(defense, CertifiedDefense)
    assert count_certificate_passes(defense) == passes


def test_counting_leaves_random_numbers_and_threads_alone() -> None:
    torch.manual_seed(0)
    first = torch.rand(1)
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    count_training_steps(DEFENSES["pgd_training"].model_validate({"steps": 3}))
    assert torch.equal(torch.rand(1), first)
    assert torch.get_num_threads() == threads


def test_the_frontier_trains_its_defenses_with_about_equal_passes() -> None:
    defenses = load_experiment(ROOT / "jobs" / "frontier.yaml").defenses
    assert len(defenses) >= 10
    passes = {}
    for name, defense in defenses.items():
        tile = 2 * count_training_steps(defense)
        if isinstance(defense, StaticTraining):
            clean, perturbed = defense.choose(100, seed=0)
            crafting = 16  # of DeepFool's tiles, as benchmarks/results/attacks-64.json counts them
            passes[name] = crafting + tile * (len(clean) + len(perturbed)) / 100 * defense.epochs
        else:
            passes[name] = tile * defense.epochs
    assert passes == pytest.approx(dict.fromkeys(defenses, 144), rel=0.01)
