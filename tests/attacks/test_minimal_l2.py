import pytest
import torch
from torch import nn

from raypipe.attacks.ddn import DecoupledDirectionNorm, decoupled_direction_norm
from raypipe.attacks.deepfool import DeepFool, deepfool
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import measure_lengths
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.attacks.minimal_l2 import MinimalL2, minimal_l2


class Linear(nn.Module):
    """A model in which class 1 wins beyond a hyperplane through the middle of the box."""

    def __init__(self, normal):
        super().__init__()
        self.register_buffer("normal", normal)

    def forward(self, images):
        across = ((images - 0.5) * self.normal).flatten(1).sum(1)
        return torch.stack([-across, across], 1)


class Ball(nn.Module):
    """A model in which class 1 wins inside a ball: its boundary is curved, and most directions miss it."""

    def __init__(self, center, radius):
        super().__init__()
        self.register_buffer("center", center)
        self.radius = radius

    def forward(self, images):
        inside = self.radius**2 - (images - self.center).flatten(1).square().sum(1)
        return torch.stack([-inside, inside], 1)


def run(model, images, labels, **settings):
    with freeze(model):
        return minimal_l2(Victim(model, len(images)), images, Goal(labels), MinimalL2(**settings))


def test_a_plane_is_met_at_its_foot():
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(1, 3, 4, 4, generator=generator)
    model = Linear(normal / normal.norm())
    images = 0.5 - 0.2 * model.normal * torch.tensor([0.5, 1.0, 2.0]).view(3, 1, 1, 1)
    found = run(model, images, torch.zeros(3, dtype=torch.long))
    assert measure_lengths(found - images).tolist() == pytest.approx([0.1, 0.2, 0.4], rel=0.011)


def test_a_sphere_is_met_where_it_is_nearest():
    center = torch.full((1, 3, 4, 4), 0.5)
    generator = torch.Generator().manual_seed(1)
    offsets = torch.randn(4, 3, 4, 4, generator=generator)
    offsets = offsets / measure_lengths(offsets).view(-1, 1, 1, 1)
    images = center + 0.9 * offsets
    found = run(Ball(center, 0.4), images, torch.zeros(4, dtype=torch.long))
    assert measure_lengths(found - images).tolist() == pytest.approx([0.5] * 4, rel=0.011)


def test_as_short_as_a_hundred_steps_of_ddn(cases):
    for case in cases.values():
        with freeze(case.model) as model:
            start = deepfool(Victim(model, len(case.images)), case.floats, case.goal, DeepFool())
            victim = Victim(model, len(case.images))
            ours = minimal_l2(victim, case.floats, case.goal, MinimalL2())
            settings = DecoupledDirectionNorm(max_iterations=100, levels=None)
            reference = decoupled_direction_norm(Victim(model, len(case.images)), case.floats, case.goal, settings)
        attacked = (ours != case.floats).flatten(1).any(1)
        means = [float(measure_lengths(found - case.floats)[attacked].mean()) for found in (ours, reference, start)]
        assert means[0] <= 1.03 * means[1]
        assert means[0] < means[2]
        assert float(victim.forwards[attacked].float().mean()) <= 25


def test_a_target_is_refused(cases):
    case = cases[3]
    with freeze(case.model) as model, pytest.raises(ValueError, match="nearest boundary"):
        minimal_l2(Victim(model, len(case.images)), case.floats, Goal(case.truth, targeted=True), MinimalL2())
