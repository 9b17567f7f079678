"""Certificates hold: they are compared with closed forms, brute force, and the project's own attacks."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm
from torch import nn

from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.prepare import prepare
from raypipe.attacks.pgd import ProjectedGradient
from raypipe.base.errors import ConfigError
from raypipe.base.predictions import NO_CLASS
from raypipe.defenses.base import Certificates, CertifiedDefense
from raypipe.defenses.interval_bound_propagation import IntervalBoundPropagation
from raypipe.defenses.randomized_smoothing import RandomizedSmoothing, compute_vote_quantile
from raypipe.evaluation.checks.probe import probe
from raypipe.experiment.load import validate_experiment
from raypipe.models.backbones import BACKBONES
from raypipe.models.bounds import bound_margins
from raypipe.models.classifier import Classifier
from raypipe.models.transforms.gaussian_smoothing import GaussianSmoothing
from tests.defenses.laboratory import Laboratory

pytestmark = pytest.mark.xdist_group("laboratory")  # in one process, which draws its tiles once
CPU = torch.device("cpu")
HALF = (0.5, 0.5, 0.5)
SMOOTHING = RandomizedSmoothing(sigma=0.12, samples=16, epochs=4, learning_rate=2e-3, selection=20, estimation=200)
INTERVALS = IntervalBoundPropagation(eps=2 / 255, epochs=25, learning_rate=2e-3)


class Linear(nn.Module):
    """A model of class 1 if the mean normalized pixel is positive; its smoothed version has a closed form."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.values = values

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = images.flatten(1).sum(1) / self.values**0.5
        return torch.stack([-score, score], dim=1)


def test_votes_are_bounded_as_clopper_and_pearson_do() -> None:
    for votes in (3, 120, 199, 200):
        low = binomtest(votes, 200, alternative="greater").proportion_ci(0.999, "exact").low
        assert compute_vote_quantile(votes, 200, 0.001) == pytest.approx(norm.ppf(low), abs=1e-9)
    assert compute_vote_quantile(0, 200, 0.001) == -np.inf


def test_a_smoothed_linear_model_is_certified_up_to_its_hyperplane_and_no_further() -> None:
    """Compare radius with distance, up to chance: the share of votes is the normal distribution at the distance."""
    size, sigma = 8, 0.3
    model = Classifier(Linear(3 * size * size), HALF, (1, 1, 1), GaussianSmoothing(sigma=sigma, samples=4)).eval()
    grays = np.array([100, 126, 127, 128, 131, 140], dtype=np.uint8)
    images = np.broadcast_to(grays[:, None, None, None], (6, size, size, 3)).copy()
    distance = (3 * size * size) ** 0.5 * (grays / 255 - 0.5)
    defense = RandomizedSmoothing(sigma=sigma, estimation=4000)
    made = defense.certify(model, images, CPU, seed=0)
    assert (made.radius <= np.abs(distance)).all()
    near = (np.abs(distance) < 2.5 * sigma) & (np.abs(distance) > 0.2 * sigma)
    np.testing.assert_allclose(made.radius[near], np.abs(distance)[near], atol=0.15 * sigma + 0.02)
    told = made.prediction != NO_CLASS
    assert (made.prediction[told] == (distance > 0)[told]).all()
    again = defense.certify(model, images[::-1].copy(), CPU, seed=0)
    np.testing.assert_array_equal(again.radius[::-1], made.radius, err_msg="depends on the tile, not on its place")


def test_a_smoothed_model_answers_the_same_twice_and_has_gradients(laboratory: Laboratory) -> None:
    images, labels = laboratory.test_tiles()
    network = laboratory.clean.network
    model = Classifier(network, HALF, HALF, GaussianSmoothing(sigma=0.1, samples=8)).eval()
    seen = probe(model, images[:8], labels[:8], 4, CPU)
    assert seen.repeat_difference.max() == 0
    assert seen.batch_difference.max() < 1e-4
    assert (seen.log_odds_gradient > 0).all()
    many = Classifier(network, HALF, HALF, GaussianSmoothing(sigma=0.1, samples=400)).eval()
    tile = torch.from_numpy(images[:1]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        torch.manual_seed(0)
        mean = model.classify(tile + 0.1 * torch.randn(4000, *tile.shape[1:])).softmax(1).mean(0)
        torch.testing.assert_close(many(tile).exp()[0], mean, atol=0.06, rtol=0)


def test_bounds_of_one_layer_are_exact() -> None:
    """Compare with a linear model's smallest lead over a linf ball: its lead less eps times the sum of its slopes."""
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), HALF, HALF).double()
    images, labels, eps = torch.full((2, 3, 2, 2), 0.4).double(), torch.tensor([0, 2]), 0.05
    weight, logits = model.network[1].weight / 0.5, model(images)  # type: ignore[index, operator]
    for row, label in enumerate(labels):
        for other in range(3):
            lead = logits[row, label] - logits[row, other] - eps * (weight[label] - weight[other]).abs().sum()
            torch.testing.assert_close(bound_margins(model, images, labels, eps)[row, other], lead)


@pytest.mark.parametrize("backbone", ["convnet", "convnet_medium"])
@pytest.mark.parametrize("resize", [None, 20, 48])
@pytest.mark.parametrize("eps", [0.0, 1 / 255, 8 / 255])
def test_no_point_of_the_ball_is_beyond_the_bounds(eps: float, resize: int | None, backbone: str) -> None:
    torch.manual_seed(0)
    model = Classifier(BACKBONES[backbone].build(4), HALF, HALF, resize=resize).double().eval()
    images, labels = torch.rand(3, 3, 32, 32).double(), torch.tensor([0, 1, 3])
    with torch.no_grad():
        lower = bound_margins(model, images, labels, eps)
        for _ in range(30):
            corners = (images + eps * torch.randn_like(images).sign()).clamp(0, 1)
            logits = model(corners)
            leads = logits.gather(1, labels[:, None]) - logits
            assert (leads >= lower - 1e-9).all()
        if eps == 0:
            logits = model(images)
            torch.testing.assert_close(lower, logits.gather(1, labels[:, None]) - logits)


def certified(defense: CertifiedDefense, laboratory: Laboratory) -> tuple[Classifier, Certificates, Any]:
    model = laboratory.harden(defense)
    images, labels = laboratory.test_tiles()
    return model, defense.certify(model, images, CPU, seed=0), (images, labels)


def test_interval_bounds_prove_more_than_before_and_no_attack_breaks_them(laboratory: Laboratory) -> None:
    before = INTERVALS.certify(laboratory.clean, laboratory.test_tiles()[0], CPU, seed=0)
    model, proved, (images, labels) = certified(INTERVALS, laboratory)
    right = proved.prediction == labels
    assert right.mean() > 0.55
    assert np.median(proved.radius[right]) > 5 * np.median(before.radius)
    prepared = prepare(model, (3, 32, 32), device="cpu", batch_size=16)
    for steps in (1, 2, 4):
        made = generate(prepared, images, labels, ProjectedGradient(eps=steps / 255, max_iterations=20, restarts=2))
        standing = made.adversarial_prediction == labels
        assert standing[right & (proved.radius >= steps / 255)].all(), "certified <= empirical, for every tile"
    assert (right & (proved.radius >= 1 / 255)).mean() > 0.25, "it proves something"


def test_smoothing_proves_something_and_attacks_do_not_break_it(laboratory: Laboratory) -> None:
    model, proved, (images, labels) = certified(SMOOTHING, laboratory)
    right = proved.prediction == labels
    assert (right & (proved.radius > 0.05)).mean() > 0.4
    prepared = prepare(model, (3, 32, 32), device="cpu", batch_size=16)
    made = generate(prepared, images, labels, ProjectedGradient(norm="l2", eps=0.15, max_iterations=6))
    broken = (made.adversarial_prediction != labels) & right & (made.l2 <= proved.radius)
    assert broken.sum() <= 1, "the vote is over a few draws"


def test_backbones_without_bounds_are_refused_when_the_experiment_is_read() -> None:
    raw = {"name": "t", "data": {"source": "synthetic"}, "models": ["convnet", "resnet18"], "attacks": ["deepfool"]}
    with pytest.raises(ConfigError, match=r"interval_bound_propagation and models\.resnet18: .*resnet18 is ResNet"):
        validate_experiment({**raw, "defenses": ["interval_bound_propagation"]})
    assert validate_experiment({**raw, "models": ["convnet"], "defenses": ["interval_bound_propagation"]})
