from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from raypipe.attacks import ATTACKS
from raypipe.attacks.apgd import AutoProjectedGradient
from raypipe.attacks.base import Attack
from raypipe.attacks.engine.norms import BoundedAttack
from raypipe.attacks.fgsm import FastGradient
from raypipe.attacks.pgd import ProjectedGradient, projected_gradient
from raypipe.evaluation.checks.evidence import PlantedSearch
from raypipe.evaluation.checks.planted import INSEPARABLE, UNSTEADY, run_binarization_test
from raypipe.evaluation.checks.readouts import Features, find_penultimate, separate
from raypipe.models.backbones import BACKBONES
from raypipe.models.classifier import Model, build_classifier

CPU = torch.device("cpu")
PGD = ProjectedGradient(eps=8 / 255, max_iterations=20)


def run(tested, name: str, settings: BoundedAttack = PGD, tiles: int = 12, **changes: int | float) -> PlantedSearch:
    return run_binarization_test(tested.models[name], tested.images[:tiles], settings, 32, CPU, **changes)


@pytest.mark.parametrize(
    "settings",
    [
        PGD,
        ProjectedGradient(norm="l2", eps=0.5, max_iterations=20, random_start=True),
        AutoProjectedGradient(eps=8 / 255, max_iterations=20),
        ProjectedGradient(eps=8 / 255, target="runner_up"),
        FastGradient(eps=8 / 255),
    ],
    ids=["pgd", "pgd l2", "apgd", "targeted", "fgsm"],
)
def test_attacks_find_what_is_planted_in_an_undefended_model_and_chance_does_not(tested, settings) -> None:
    result = run(tested, "undefended", settings)
    assert result.applicable.all()
    assert result.found.all()
    assert result.random_found.mean() <= 0.25


def test_a_gradient_attack_is_blind_behind_rounding(tested) -> None:
    result = run(tested, "quantized", ProjectedGradient(eps=0.1, max_iterations=20))
    assert result.applicable.all()
    assert not result.found.any()
    assert result.random_points == 100


def test_overconfidence_does_not_blind_attacks_on_the_log_odds(tested) -> None:
    assert run(tested, "overconfident").found.all()


def test_nothing_can_be_planted_in_a_random_model(tested) -> None:
    torch.manual_seed(0)
    result = run(tested, "noisy")
    assert result.applicable.mean() < 0.5
    assert UNSTEADY in result.reasons
    assert not result.found[~result.applicable].any()


def test_chance_gets_as_many_points_as_the_attack_had_passes_and_all_are_counted(tested) -> None:
    model, calls = tested.models["quantized"], []
    hook = model.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    # With this seed the random search finds nothing either, so all of its points are drawn.
    result = run(tested, "quantized", ProjectedGradient(eps=0.1, max_iterations=150), tiles=2, seed=2)
    hook.remove()
    assert result.random_points == 151
    assert result.backwards.tolist() == [150, 150]
    assert not result.random_found.any()
    each = 3 + 99 + 2 * 1 + 151 + 151
    assert result.forwards.tolist() == [each + 1, each]
    assert sum(calls) == result.forwards.sum()


def test_the_same_seed_plants_the_same(tested) -> None:
    easy = {"tiles": 8, "inner_points": 10, "closeness": 0.5}
    first, again, other = (run(tested, "undefended", **easy, seed=seed) for seed in (0, 0, 1))
    assert first.random_found.tolist() == again.random_found.tolist()
    assert first.forwards.tolist() == again.forwards.tolist()
    assert first.forwards.tolist() != other.forwards.tolist()


def test_what_lies_outside_the_ball_is_not_found(tested, monkeypatch) -> None:
    def too_far(victim, images, goal, settings):
        return projected_gradient(victim, images, goal, settings.model_copy(update={"eps": 8 * settings.eps}))

    monkeypatch.setitem(ATTACKS, "pgd", Attack(ProjectedGradient, too_far))
    result = run(tested, "undefended")
    assert result.applicable.all()
    assert not result.found.any()


def test_a_ball_without_a_difference_plants_nothing(tested) -> None:
    """Round to 4 bits, which gives all points of a tiny ball the same features on tiles that are not near a step."""
    tested = replace(tested, images=np.round(tested.images / 17).astype(np.uint8) * 17)
    result = run(tested, "quantized", ProjectedGradient(eps=1 / 255))
    assert set(result.reasons) == {INSEPARABLE}
    assert not result.found.any()
    assert result.random_points == 0


def test_an_attack_that_needs_more_classes_is_not_applicable(tested) -> None:
    result = run(tested, "undefended", AutoProjectedGradient(loss="dlr"), tiles=2)
    assert not result.applicable.any()
    assert "does not run on two classes: loss = dlr" in result.reasons[0]


class Squeezed(nn.Module):
    """A model with a linear layer inside, and none at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.score = nn.Linear(3, 3), nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        gates = self.squeeze(images.mean((2, 3))).sigmoid()[:, :, None, None]
        return self.score(images * gates).mean((2, 3))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Conv2d(3, 2, 16), nn.Flatten()), "no linear layer runs"),
        (Squeezed(), "gives 3 values: expected one feature vector per tile and 4 logits"),
    ],
)
def test_a_model_without_penultimate_features_is_not_applicable(tested, model, reason) -> None:
    result = run_binarization_test(model, tested.images[:3], PGD, 8, CPU)
    assert all(reason in why for why in result.reasons)
    assert not result.applicable.any()
    assert not result.found.any()


@pytest.mark.parametrize("name", list(BACKBONES))
def test_every_backbone_has_penultimate_features(name: str) -> None:
    model = build_classifier(Model(name=name), 5).eval()
    tiles = torch.rand(2, 3, 64, 64)
    features = find_penultimate(model, tiles[:1])
    assert isinstance(features, Features)
    with torch.no_grad():
        torch.testing.assert_close(features.layer(features.extract(tiles)), model(tiles))


def test_the_model_is_left_as_it_was(tested) -> None:
    model = tested.models["undefended"].train()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    run_binarization_test(model, tested.images[:2], PGD, 8, CPU)
    assert all(module.training and not module._forward_pre_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_the_readout_has_the_largest_margin() -> None:
    """Compare with logistic regression with almost no penalty, which tends to the same boundary."""
    features = torch.from_numpy(np.random.default_rng(0).normal(5, 1e-3, (12, 30))).double()
    readout = separate(features, positive=2, closeness=0.0)
    scores = (features - readout.center) @ readout.weight + readout.bias
    assert (scores[-2:] > 0).all()
    assert (scores[:-2] < 0).all()
    assert float(scores.abs().max()) == pytest.approx(1)
    assert float(scores[-2:].min()) == pytest.approx(-float(scores[:-2].max()), rel=1e-3)
    ones, weight = np.arange(12) >= 10, readout.weight.numpy()
    scaled = ((features - features.mean(0)) * 1e3).numpy()
    regression = LogisticRegression(C=1e8, max_iter=10_000, tol=1e-10).fit(scaled, ones)
    cosine = np.dot(regression.coef_[0], weight) / np.linalg.norm(regression.coef_) / np.linalg.norm(weight)
    assert cosine > 0.99


def test_closeness_moves_the_boundary_toward_what_is_planted() -> None:
    features = torch.tensor([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0]])
    for closeness, boundary in ((0.0, 2.0), (0.5, 3.0), (0.9, 3.8)):
        readout = separate(features, positive=1, closeness=closeness)
        scores = (torch.tensor([[boundary, 0.0], [boundary, 1.0]]) - readout.center) @ readout.weight + readout.bias
        torch.testing.assert_close(scores, torch.zeros(2), atol=1e-3, rtol=0)


def test_what_cannot_be_separated_is_not() -> None:
    line = torch.tensor([[0.0], [1.0], [2.0]])
    assert separate(line[[0, 2, 1]], positive=1, closeness=0.0) is None
    assert separate(torch.zeros(3, 2), positive=1, closeness=0.0) is None
    assert separate(torch.tensor([[0.0], [torch.nan]]), positive=1, closeness=0.0) is None
