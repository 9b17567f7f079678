import pytest
import torch
from torch import nn

from raypipe.attacks.ddn import DecoupledDirectionNorm, decoupled_direction_norm
from raypipe.attacks.deepfool import DeepFool, deepfool
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import measure_lengths
from raypipe.attacks.engine.victim import Victim, freeze


def attacked(case, goal=None, **settings):
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        found = decoupled_direction_norm(victim, case.floats, goal or case.goal, DecoupledDirectionNorm(**settings))
        logits = model(found)
    return found, logits, victim


def test_a_linear_model_s_boundary_is_found():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
        images = 0.4 + 0.2 * torch.rand(12, 3, 8, 8)
    weight, bias = model[1].weight.detach(), model[1].bias.detach()
    logits = images.flatten(1) @ weight.T + bias
    nearest = (logits[:, 0] - logits[:, 1]).abs() / (weight[0] - weight[1]).norm()
    goal = Goal(logits.argmax(1))
    with freeze(model):
        victim = Victim(model, 12)
        settings = DecoupledDirectionNorm(levels=None, init_norm=0.3)
        found = decoupled_direction_norm(victim, images, goal, settings)
        assert bool((model(found).argmax(1) != goal.classes).all())
    length = measure_lengths(found - images)
    assert bool((length >= nearest * (1 - 1e-4)).all())
    assert bool((length <= nearest * 1.05).all())
    assert victim.forwards.tolist() == [100] * 12
    assert victim.backwards.tolist() == [99] * 12


def test_the_length_follows_success_by_gamma():
    """Let every step after the first succeed: the length then shrinks by a twentieth per step."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
    model[1].weight.data = torch.stack([torch.zeros(12), torch.full((12,), 1e3)])
    images, goal = torch.full((1, 3, 2, 2), 0.5), Goal(torch.zeros(1, dtype=torch.long))
    model[1].bias = nn.Parameter(torch.tensor([6e3 + 1, 0.0]))
    with freeze(model):
        for iterations, expected in [(2, 0.8 * 1.05), (3, 0.8 * 1.05 * 0.95), (4, 0.8 * 1.05 * 0.95**2)]:
            settings = DecoupledDirectionNorm(max_iterations=iterations, init_norm=0.8, levels=None)
            found = decoupled_direction_norm(Victim(model, 1), images, goal, settings)
            assert float(measure_lengths(found - images)) == pytest.approx(expected, rel=1e-5)


def test_shorter_than_deepfool_s(cases):
    for classes in (3, 5):
        case = cases[classes]
        with freeze(case.model) as model:
            other = deepfool(Victim(model, len(case.images)), case.floats, case.goal, DeepFool())
        found, logits, _ = attacked(case, levels=None)
        assert bool((logits.argmax(1) != case.truth).all())
        assert float(measure_lengths(found - case.floats).mean()) < 0.97 * float(
            measure_lengths(other - case.floats).mean()
        )


@pytest.mark.parametrize("levels", [256, 16])
def test_points_are_rounded_to_levels(cases, levels):
    found, logits, _ = attacked(cases[3], levels=levels, max_iterations=30)
    moved = (found != cases[3].floats).flatten(1).any(1)
    assert moved.sum() >= 12
    steps = found[moved] * (levels - 1)
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    assert bool((logits.argmax(1) != cases[3].truth).all())


def test_a_target_is_reached(cases):
    case = cases[5]
    targets = (case.truth + 2) % 5
    _, logits, _ = attacked(case, Goal(targets, targeted=True), target="random")
    assert bool((logits.argmax(1) == targets).all())


def test_a_plateau_is_left_at_random():
    plateau = nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.ReLU(), nn.Linear(1, 2))
    plateau[1].weight.data.fill_(1.0)
    plateau[1].bias.data.fill_(-6.0)
    plateau[3].weight.data = torch.tensor([[0.0], [10.0]])
    plateau[3].bias.data = torch.tensor([1.0, 0.0])
    images = torch.full((8, 3, 2, 2), 0.5) - torch.arange(8).view(-1, 1, 1, 1) / 255
    with freeze(plateau):
        goal = Goal(torch.zeros(8, dtype=torch.long))
        found = decoupled_direction_norm(Victim(plateau, 8), images, goal, DecoupledDirectionNorm(levels=None))
        assert (plateau(found).argmax(1) == 1).sum() >= 2


@pytest.mark.parametrize(("field", "value"), [("gamma", 1.0), ("levels", 1), ("init_norm", 0), ("max_iterations", 1)])
def test_settings_are_checked(field, value):
    with pytest.raises(ValueError, match=field):
        DecoupledDirectionNorm(**{field: value})
