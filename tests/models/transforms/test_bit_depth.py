"""Rounding to fewer bits: one function, with the gradient of the identity or with its own."""

import torch

from raypipe.attacks.engine.prepare import prepare
from raypipe.models.classifier import Classifier
from raypipe.models.transforms.bit_depth import BitDepth, ReducedBitDepth

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def slope(layer: ReducedBitDepth) -> torch.Tensor:
    points = IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(points, lambda seen: (3 * seen).sum()), points)
    return gradient


def test_the_gradient_does_not_change_the_function() -> None:
    through, zero = (ReducedBitDepth(BitDepth(bits=3, gradient=name)) for name in ("straight_through", "zero"))
    seen = [layer(IMAGES, lambda rounded: rounded) for layer in (through, zero)]
    assert torch.equal(*seen)
    assert torch.equal(seen[0], torch.round(IMAGES * 7) / 7)
    assert len(seen[0].unique()) == 8
    assert (slope(through) == 3).all()
    assert (slope(zero) == 0).all()


def test_a_checkpoint_without_the_setting_is_attacked_through() -> None:
    assert BitDepth.model_validate({"name": "bit_depth", "bits": 4}).gradient == "straight_through"


def test_attacks_see_the_gradient_of_the_prepared_model() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
    network.append(torch.nn.Linear(4 * 36, 3))
    model = Classifier(network.eval(), (0.5,) * 3, (0.5,) * 3, BitDepth(bits=3)).eval()
    points = IMAGES.clone().requires_grad_()
    fast = prepare(model, (3, 8, 8), device="cpu", batch_size=2).fast
    (gradient,) = torch.autograd.grad(fast(points)[:, 0].sum(), points)
    assert (gradient != 0).float().mean() > 0.9
