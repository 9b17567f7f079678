import pytest
import torch

from raypipe.attacks.engine.norms import draw_from_unit_ball, draw_points, normalize, project
from raypipe.attacks.fgsm import FastGradient


@pytest.fixture
def clean():
    images = torch.rand(50, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images[0], images[1] = 0, 1
    return images


def distance(points, clean, norm):
    return torch.linalg.vector_norm((points - clean).flatten(1), ord={"linf": torch.inf, "l2": 2}[norm], dim=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_ends_in_ball_and_box_and_moves_nothing_that_is_there(clean, norm):
    far = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    points = project(far, clean, 0.3, norm)
    assert float(points.min()) >= 0
    assert float(points.max()) <= 1
    assert float(distance(points, clean, norm).max()) <= 0.3 + 1e-6
    torch.testing.assert_close(project(points, clean, 0.3, norm), points)
    near = (clean + 0.01 * (far - clean)).clamp(0, 1)
    torch.testing.assert_close(project(near, clean, 0.3, norm), near)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e10])
def test_steps_have_unit_length_however_small_the_gradient(clean, norm, scale):
    gradient = (clean - 0.5) * scale
    step = normalize(gradient, norm)
    torch.testing.assert_close(distance(step, 0, norm), torch.ones(len(clean)))
    assert bool((step * gradient >= 0).all())
    assert not normalize(torch.zeros_like(clean), norm).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_draws_fill_the_ball_and_depend_on_pixels_and_key_alone(clean, norm):
    draws = draw_from_unit_ball(clean, norm, key="0 0")
    radius = distance(draws, 0, norm)
    assert float(radius.max()) <= 1 + 1e-6
    # The radius of a uniform draw from a ball in d dimensions has the mean d / (d + 1).
    assert float(radius.mean()) == pytest.approx(48 / 49, abs=0.02)
    assert draws.mean().abs() < 0.02
    order = torch.randperm(len(clean), generator=torch.Generator().manual_seed(2))
    assert torch.equal(draw_from_unit_ball(clean[order], norm, key="0 0"), draws[order])
    assert not torch.equal(draw_from_unit_ball(clean, norm, key="0 1"), draws)
    points = draw_points(clean, 0.2, norm, key="0 0")
    assert float(distance(points, clean, norm).max()) <= 0.2 + 1e-6
    assert 0 <= float(points.min()) <= float(points.max()) <= 1


def test_the_usual_radius_follows_the_norm():
    assert FastGradient().eps == 8 / 255
    assert FastGradient(norm="l2").eps == 0.5
    assert FastGradient(norm="l2", eps=3).eps == 3
    assert FastGradient.model_validate(FastGradient(norm="l2").model_dump()) == FastGradient(norm="l2")


def test_a_radius_in_steps_of_8_bit_is_refused():
    with pytest.raises(ValueError, match=r"eps = 8: expected 0\.\.1, pixels are scaled; did you mean 8/255\?"):
        FastGradient(eps=8)
    with pytest.raises(ValueError, match="eps"):
        FastGradient(eps=0)
