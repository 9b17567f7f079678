import pytest
import torch
from torch import nn

from raypipe.attacks.deepfool import BEYOND, DeepFool, deepfool
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.victim import Victim, freeze


@pytest.fixture
def linear():
    """Return a model of three classes with slopes so small that no pixel reaches the edge of the box."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    model[1].weight.data.normal_(std=0.05)
    model[1].bias.data.zero_()
    return model


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("overshoot", [0.0, 0.02, 0.1])
def test_a_linear_model_gives_the_closed_form(linear, lazy, overshoot):
    images = 0.4 + 0.2 * torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    weight, bias = linear[1].weight.detach(), linear[1].bias.detach()
    logits = images.flatten(1) @ weight.T + bias
    labels = logits.argmax(1)
    expected = []
    for image, scores, label in zip(images.flatten(1), logits, labels, strict=True):
        others = [k for k in range(3) if k != label]
        distances = [(scores[label] - scores[k]) / (weight[label] - weight[k]).norm() for k in others]
        nearest = min(range(2), key=lambda k: distances[k])
        direction = weight[others[nearest]] - weight[label]
        expected.append(image + (1 + overshoot) * (distances[nearest] + BEYOND) * direction / direction.norm())
    with freeze(linear):
        victim = Victim(linear, len(images))
        found = deepfool(victim, images, Goal(labels), DeepFool(lazy=lazy, overshoot=overshoot))
    torch.testing.assert_close(found.flatten(1), torch.stack(expected), atol=2e-6, rtol=1e-5)
    assert bool((linear(found).argmax(1) != labels).all())
    assert victim.forwards.tolist() == [2] * 12
    assert victim.backwards.tolist() == [2] * 12


def test_lazy_saves_backward_passes_and_costs_little_distance(cases):
    case = cases[10]
    spent, distance = {}, {}
    for lazy in (True, False):
        with freeze(case.model) as model:
            victim = Victim(model, len(case.images))
            found = deepfool(victim, case.floats, case.goal, DeepFool(lazy=lazy))
        spent[lazy] = int(victim.backwards.sum())
        distance[lazy] = float((found - case.floats).flatten(1).norm(dim=1).mean())
    assert spent[True] < spent[False]
    assert distance[True] <= 1.05 * distance[False]


def test_a_vanishing_gradient_stays_finite():
    """Use slopes of 1e-20, for which the linear model's boundary is far outside the box."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    model[1].weight.data = torch.stack([torch.full((12,), 1e-20), torch.full((12,), -1e-20)])
    model[1].bias.data = torch.tensor([1.0, 0.0])
    with freeze(model):
        victim = Victim(model, 2)
        found = deepfool(victim, torch.rand(2, 3, 2, 2), Goal(torch.zeros(2, dtype=torch.long)), DeepFool())
    assert bool(found.isfinite().all())
    assert int(victim.forwards.max()) <= 51


@pytest.mark.parametrize(("field", "value"), [("max_iterations", 0), ("overshoot", -0.1), ("steps", 3)])
def test_settings_are_checked(field, value):
    with pytest.raises(ValueError, match=field):
        DeepFool(**{field: value})
