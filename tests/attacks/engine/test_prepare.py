"""A prepared model: it computes the same function faster, and leaves the original unchanged."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from raypipe.attacks.engine import prepare as preparation
from raypipe.attacks.engine.fold import SAME
from raypipe.attacks.engine.prepare import PreparedModel, Trials, prepare
from raypipe.models.backbones import BACKBONES
from raypipe.models.classifier import Model, build_classifier

SHAPE = (3, 32, 32)
NOT_FOLDED = {"densenet121": 58 + 3 + 1}
"""Batch normalizations before a convolution or at the end: in dense layers, in transitions, and at the end of the
network."""

PLAIN = ("convnet", "convnet_medium")
"""Backbones without batch normalization."""


def trained_looking(name: str) -> nn.Module:
    """Return an untrained backbone with batch statistics and scales like a trained one's, which make folding matter."""
    torch.manual_seed(0)
    model = build_classifier(Model(name=name), 5).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model


def layers(model: nn.Module) -> int:
    """Count the layers of batch normalization that a pass runs: an auxiliary head may rest in evaluation mode."""
    ran: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        model(torch.rand(2, *SHAPE))
    for hook in hooks:
        hook.remove()
    return len(set(ran))


def gradient(model: nn.Module, images: Tensor) -> Tensor:
    """Return the gradient in double precision: in single precision, rounding can switch a ReLU and a percent of it."""
    points = images.double().requires_grad_()
    (found,) = torch.autograd.grad(copy.deepcopy(model).double()(points)[:, 0].sum(), points)
    return found


@pytest.mark.parametrize("name", [*BACKBONES, "timm:mobilenetv3_small_050"])
def test_every_backbone_is_folded_and_computes_the_same(name: str) -> None:
    model = trained_looking(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    prepared = prepare(model, SHAPE, device="cpu", batch_size=4)
    assert prepared.folded
    assert prepared.fast.memory_format is torch.channels_last
    assert layers(prepared.fast) == NOT_FOLDED.get(name, 0)
    assert layers(model) > layers(prepared.fast) or name in PLAIN
    images = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(prepared.fast(images), model(images), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(gradient(prepared.fast, images), gradient(model, images), rtol=1e-3, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in prepared.fast.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert prepared.plain is model


class Winding(nn.Module):
    """A network that cannot be traced, because its path depends on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, images: Tensor) -> Tensor:
        if images.sum() > 0:
            images = images * 2
        return self.convolution(images).mean((2, 3))


def test_a_model_that_cannot_be_traced_is_used_as_it_is() -> None:
    prepared = prepare(Winding().eval(), SHAPE, device="cpu", batch_size=4)
    assert not prepared.folded
    assert layers(prepared.fast) == 1


class StraightThrough(nn.Module):
    """A network that loses `no_grad` in a trace: the logits stay equal, and the gradient becomes zero."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            correction = (images * 7).round() / 7 - images
        return self.convolution(images + correction).mean((2, 3))


def test_a_folded_model_keeps_a_gradient_that_a_trace_loses() -> None:
    model = StraightThrough().eval()
    images = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    assert gradient(fuse(model), images).abs().max() == 0, "the trap is one"
    prepared = prepare(model, SHAPE, device="cpu", batch_size=4)
    assert prepared.folded
    torch.testing.assert_close(gradient(prepared.fast, images), gradient(model, images), rtol=1e-3, atol=1e-6)


class Reading(nn.Module):
    """A network that reads the weight of its convolution, which folding changes."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(images * self.convolution[0].weight.mean()).mean((2, 3))


def test_a_model_that_folding_changes_is_used_as_it_is() -> None:
    model = Reading().eval()
    model.convolution[1].running_var.fill_(4)
    prepared = prepare(model, SHAPE, device="cpu", batch_size=4)
    assert not prepared.folded
    assert "folding changes its logits by" in prepared.trials.not_folded
    assert layers(prepared.fast) == 1


@pytest.mark.parametrize("name", ["shufflenet_v2_x1_0", "timm:mobilenetv3_small_050", "timm:tf_efficientnet_b0"])
def test_recorded_trials_give_the_same_fast_model_without_a_trial(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained_looking(name)
    first = prepare(model, SHAPE, device="cpu")
    assert first.trials.folding.difference <= SAME
    recorded = Trials.model_validate_json(first.trials.model_dump_json())
    assert recorded == first.trials
    monkeypatch.setattr(preparation, "find_folding", None)
    monkeypatch.setattr(preparation, "compute_logits_and_gradient", None)
    again = prepare(model, SHAPE, device="cpu", trials=recorded)
    assert (again.batch_size, again.folded) == (first.batch_size, True)
    images = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again.fast(images), first.fast(images))
    assert layers(again.fast) == layers(first.fast)


def test_a_given_batch_size_is_no_result_of_a_trial() -> None:
    prepared = prepare(Winding().eval(), SHAPE, device="cpu", batch_size=3)
    assert prepared.batch_size == 3
    assert prepared.trials.batch_size is None


@pytest.mark.parametrize(("size", "batch"), [(16, 64), (64, 64), (96, 28), (224, 8)])
def test_the_batch_on_a_cpu_depends_on_the_tile_size_alone(size: int, batch: int) -> None:
    prepared = prepare(Winding().eval(), (3, size, size), device="cpu")
    assert isinstance(prepared, PreparedModel)
    assert prepared.batch_size == batch


class Viewing(nn.Module):
    """A network that needs contiguous features, as users often write it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4 * 30 * 30, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolution(images)
        return self.head(features.view(features.size(0), -1))


def test_a_network_that_needs_contiguous_images_gets_them() -> None:
    model = Viewing().eval()
    prepared = prepare(model, SHAPE, device="cpu")
    images = torch.rand(2, *SHAPE).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(prepared.fast(images), model(images.contiguous()))


def test_no_generator_is_touched() -> None:
    model = Winding().eval()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    prepare(model, SHAPE, device="cpu")
    assert torch.equal(torch.rand(1), expected)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size = 0"):
        prepare(Winding().eval(), SHAPE, device="cpu", batch_size=0)
