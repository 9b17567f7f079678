"""The promises of each defense, checked by the code that hardens. A new defense is tested without a new line here."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from raypipe.defenses import DEFENSES
from raypipe.defenses.base import Defense
from raypipe.evaluation.predict import predict
from raypipe.models.artifacts import load_model
from raypipe.models.checkpoint import load_classifier, save_classifier
from raypipe.models.classifier import Classifier
from tests.defenses.laboratory import Laboratory

pytestmark = pytest.mark.xdist_group("laboratory")  # in one process, which draws its tiles once
MORE: dict[str, dict[str, Any]] = {
    "adversarial_training": {"attacks": "mixture"},
    "defense_gan": {"finest": 16, "channels": 8},
    "pgd_training": {"awp": 0.005},
}
"""Settings with which the contract covers more of a defense; no defense needs any."""
every_defense = pytest.mark.parametrize("name", sorted(DEFENSES))


def settings(name: str) -> Defense:
    """Return settings that harden in seconds: few steps and draws, 2 epochs, and every switch turned on."""
    small = {"epochs": 2}
    for field, value in DEFENSES[name].model_construct():
        if isinstance(value, bool):
            small[field] = True
        elif isinstance(value, int) and field != "epochs":
            small[field] = min(value, 2)
    return DEFENSES[name].model_validate({**small, **MORE.get(name, {})})


def laboratory_for(name: str, request: pytest.FixtureRequest) -> Laboratory:
    """Return the laboratory with the small network, or with the ResNet if the defense needs one."""
    small = settings(name).find_incompatibility("convnet") is None
    laboratory: Laboratory = request.getfixturevalue("laboratory" if small else "residual")
    return laboratory


Hardener = Callable[[str], Classifier]


@pytest.fixture(scope="module")
def hardened(request: pytest.FixtureRequest) -> Hardener:
    """Return a function that hardens with a defense, once for all promises about the model."""
    return cache(lambda name: laboratory_for(name, request).harden(settings(name)))


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
    normalized = any(isinstance(layer, torch.nn.BatchNorm2d) for layer in model.network.modules())
    assert facts.get("batch_statistics") == (statistics if normalized else None), "convnet has no BatchNorm"
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
