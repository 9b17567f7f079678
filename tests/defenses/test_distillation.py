"""Defensive distillation: it hides the gradient of plain cross-entropy, and no attack that follows the logits fails."""

import numpy as np
import pytest
import torch

from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.prepare import prepare
from raypipe.attacks.pgd import ProjectedGradient
from raypipe.defenses.defensive_distillation import DefensiveDistillation
from raypipe.evaluation.checks.probe import probe
from raypipe.models.classifier import Classifier
from tests.defenses.laboratory import Laboratory

pytestmark = pytest.mark.xdist_group("laboratory")  # in one process, which draws its tiles once
DEFENSE = DefensiveDistillation(temperature=20, epochs=20, learning_rate=3e-3)


@pytest.fixture(scope="module")
def student(laboratory: Laboratory) -> Classifier:
    return laboratory.harden(DEFENSE)


def test_it_blinds_the_plain_cross_entropy(student: Classifier, laboratory: Laboratory) -> None:
    images, labels = laboratory.test_tiles()
    seen = [probe(model, images, labels, 16, torch.device("cpu")) for model in (laboratory.clean, student)]
    before, after = (float(np.median(each.cross_entropy_gradient / each.log_odds_gradient)) for each in seen)
    assert after < before / 100
    assert seen[1].spread.mean() > 2 * seen[0].spread.mean(), "its logits have grown"


def test_it_withstands_nothing(student: Classifier, laboratory: Laboratory) -> None:
    images, labels = laboratory.test_tiles()
    prepared = prepare(student, (3, 32, 32), device="cpu", batch_size=16)
    made = generate(prepared, images, labels, ProjectedGradient(eps=12 / 255, max_iterations=20))
    assert (made.clean_prediction == labels).mean() > 0.6
    assert (made.adversarial_prediction == labels).mean() < 0.2
