"""What every defense promises, checked for each by the code that hardens."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from raypipe.defenses import DEFENSES
from raypipe.defenses.defense import NamedDefense
from raypipe.evaluation.predict import predict
from raypipe.models.artifacts import load_model
from raypipe.models.checkpoint import load_classifier, save_classifier
from raypipe.models.classifier import Classifier
from tests.defenses.laboratory import Laboratory

pytestmark = pytest.mark.xdist_group("laboratory")  # in one process, which draws its tiles once
SETTINGS: dict[str, dict[str, Any]] = {
    "adversarial_training": {"attacks": "mixture"},
    "bit_depth_reduction": {},
    "ddn_training": {"iterations": 3},
    "defense_gan": {"finest": 16, "channels": 8, "steps": 3, "restarts": 1},
    "defensive_distillation": {},
    "fast_training": {},
    "free_training": {"replays": 2},
    "interval_bound_propagation": {},
    "mart": {"steps": 2},
    "pgd_training": {"steps": 2, "awp": 0.005, "early_stopping": True},
    "randomized_smoothing": {"samples": 4},
    "sparsity_denoising": {},
    "trades": {"steps": 2},
}
"""Small enough for seconds; epochs are added."""
NEEDS_RESNET = ("sparsity_denoising",)
every_defense = pytest.mark.parametrize("name", sorted(SETTINGS))


def settings(name: str) -> NamedDefense:
    return DEFENSES[name].model_validate({"epochs": 2, **SETTINGS[name]})


def laboratory_for(name: str, request: pytest.FixtureRequest) -> Laboratory:
    laboratory: Laboratory = request.getfixturevalue("residual" if name in NEEDS_RESNET else "laboratory")
    return laboratory


Hardener = Callable[[str], Classifier]


@pytest.fixture(scope="module")
def hardened(request: pytest.FixtureRequest) -> Hardener:
    """Hardens with a defense, once for all promises that look at the model."""
    return cache(lambda name: laboratory_for(name, request).harden(settings(name)))


def test_every_defense_is_tested() -> None:
    assert sorted(SETTINGS) == sorted(DEFENSES)


@every_defense
def test_hardening_can_be_repeated_interrupted_and_stored(
    name: str, hardened: Hardener, request: pytest.FixtureRequest
) -> None:
    defense, laboratory = settings(name), laboratory_for(name, request)
    before = laboratory.clean.state_dict()
    images, _ = laboratory.test_tiles()
    model = hardened(name)
    logits = predict(model, images, 16, torch.device("cpu"))
    assert logits.shape == (len(images), 2)
    assert np.isfinite(logits).all()

    with pytest.raises(AssertionError):
        np.testing.assert_allclose(predict(laboratory.clean, images, 16, torch.device("cpu")), logits)

    cell = laboratory.cell(defense)
    facts = cell.manifest(laboratory.store) or {}
    kept = 2 * 12 - facts["held_out"]["tiles"]
    statistics = {"tiles": kept, "inputs": "training tiles"}
    assert facts.get("batch_statistics") == (statistics if name in NEEDS_RESNET else None), "convnet has no BatchNorm"
    assert all(epoch["validation_accuracy"] is not None for epoch in facts["history"])

    _, card = load_model(laboratory.store, cell.key)
    again, same_card = load_classifier(save_classifier(model, card))
    assert same_card == card
    np.testing.assert_array_equal(predict(again, images, 16, torch.device("cpu")), logits)

    resumed = laboratory.harden(defense, lost_after=1)
    np.testing.assert_array_equal(predict(resumed, images, 16, torch.device("cpu")), logits)
    for parameter, value in laboratory.clean.state_dict().items():
        assert torch.equal(value, before[parameter]), "the model it starts from is left as it was"


@every_defense
def test_another_seed_is_another_model(name: str, hardened: Hardener, request: pytest.FixtureRequest) -> None:
    laboratory = laboratory_for(name, request)
    images, _ = laboratory.test_tiles()
    models = hardened(name), laboratory.harden(settings(name), seed=1)
    first, second = (predict(model, images, 16, torch.device("cpu")) for model in models)
    assert not np.array_equal(first, second)
