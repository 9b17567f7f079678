"""Defense-GAN: it draws tiles like those of its training, and attacks treat it as the identity backwards."""

import numpy as np
import pytest
import torch

from raypipe.defenses.defense_gan import DefenseGan
from raypipe.evaluation.checks.probe import probe
from raypipe.models.classifier import Classifier
from raypipe.models.transforms.gan_projection import GanProjection, Projection
from tests.defenses.laboratory import Laboratory

pytestmark = pytest.mark.xdist_group("laboratory")  # in one process, which draws its tiles once
CPU = torch.device("cpu")
SMALL = GanProjection(latent=16, channels=8, finest=16, restarts=1, steps=20, step_size=10.0)


@pytest.fixture(scope="module")
def defended(laboratory: Laboratory) -> Classifier:
    return laboratory.harden(DefenseGan(epochs=10, finest=16, channels=8, latent=16, steps=20, restarts=1))


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def test_its_drawings_come_near_the_tiles(defended: Classifier, laboratory: Laboratory) -> None:
    assert isinstance(defended.input_transform, Projection)
    tiles = tensor(laboratory.test_tiles()[0])
    drawn = defended.input_transform.project(tiles)
    untrained = Projection(SMALL).eval().project(tiles)
    apart, before = ((each - tiles).square().mean() for each in (drawn, untrained))
    assert apart < before
    assert 0 <= drawn.min() <= drawn.max() <= 1
    alone = defended.input_transform.project(tiles[3:4])
    torch.testing.assert_close(alone, drawn[3:4], atol=1e-4, rtol=0)


def test_gradients_are_those_at_the_projection() -> None:
    """Compare with the gradient of later layers at the projection, which counts as the identity backwards."""
    torch.manual_seed(0)
    front = Projection(SMALL).eval()
    images = torch.rand(2, 3, 32, 32)
    slope = torch.rand(3, 32, 32)

    def classify(seen: torch.Tensor) -> torch.Tensor:
        return (seen.square() * slope).flatten(1).sum(1)

    points = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(front(points, classify).sum(), points)
    torch.testing.assert_close(gradient, 2 * front.project(images) * slope)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_autocast_does_not_change_the_projection(half: torch.dtype) -> None:
    torch.manual_seed(0)
    front, images = Projection(SMALL).eval(), torch.rand(2, 3, 32, 32)
    expected = front.project(images)
    points = images.clone().requires_grad_()
    with torch.autocast("cpu", dtype=half):
        torch.testing.assert_close(front.project(images), expected, rtol=0, atol=0)
        (gradient,) = torch.autograd.grad(front(points, lambda seen: seen.sum()), points)
    torch.testing.assert_close(gradient, torch.ones_like(images))
    in_half = front.project(images.to(half))
    assert in_half.dtype == half
    assert (in_half - expected).abs().max() < 0.05


def test_the_network_stays_and_the_answers_repeat(defended: Classifier, laboratory: Laboratory) -> None:
    for name, value in laboratory.clean.network.state_dict().items():
        assert torch.equal(defended.network.state_dict()[name], value)
    images, labels = laboratory.test_tiles()
    seen = probe(defended, images[:6], labels[:6], 3, CPU)
    assert seen.repeat_difference.max() == 0
    assert (seen.log_odds_gradient > 0).all()
