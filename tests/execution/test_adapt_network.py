"""The entry of a finished model: what is recognized, what is adapted, and what is refused with a remedy."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import raypipe
from raypipe.base.errors import Notice
from raypipe.execution.adapt_network import AdaptedNetwork, adapt_network
from raypipe.models.finished_model import open_model

SHAPE = (3, 8, 8)
CLASSES = 3
SEPARATION = 20


class Small(nn.Module):
    """A network whose forward pass is any function of the network below it and the images."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__()
        self.change = forward
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, CLASSES))
        with torch.no_grad():
            self.layers[3].weight *= SEPARATION

    def forward(self, images: Tensor) -> object:
        return self.change(self.layers, images)


PLAIN = Small(lambda net, images: net(images))


def tiles() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return random tiles, and the classes that the plain network predicts for them."""
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    with torch.no_grad():
        return images, PLAIN(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).argmax(1).numpy()


def adapt(forward: Callable[[nn.Module, Tensor], object]) -> tuple[AdaptedNetwork, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapted = adapt_network(Small(forward), SHAPE)
    return adapted, [str(warning.message) for warning in caught if warning.category is Notice]


def test_a_network_that_gives_logits_is_left_as_it_is() -> None:
    for forward in (lambda net, images: net(images), lambda net, images: net(images).log_softmax(1)):
        adapted, notices = adapt(forward)
        assert isinstance(adapted.network, Small)
        assert (adapted.classes, adapted.changes, adapted.differentiable, notices) == (CLASSES, (), True, [])


PROBABILITIES = {
    "softmax": lambda net, images: net(images).softmax(1),
    "softmax in half precision": lambda net, images: net(images).softmax(1).half(),
    "clipped softmax": lambda net, images: net(images).softmax(1).clamp(1e-7, 1 - 1e-7),
    "percent": lambda net, images: 100 * net(images).softmax(1),
    "rounded": lambda net, images: (net(images).softmax(1) * 1000).round() / 1000,
    "mean of two": lambda net, images: (net(images).softmax(1) + net(images).softmax(1)) / 2,
    "sigmoid": lambda net, images: net(images).sigmoid(),
}


@pytest.mark.parametrize("kind", PROBABILITIES)
def test_the_logarithm_of_probabilities_is_taken_and_said(kind: str) -> None:
    adapted, (notice, *others) = adapt(PROBABILITIES[kind])
    assert adapted.changes[-1] == "logarithm of probabilities"
    assert "gives probabilities" in notice
    assert [other.partition(" (")[0] for other in others] == ["the model has no gradient"] * (kind == "rounded")
    images = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits, expected = adapted.network(images).float(), PLAIN(images)
        expected = expected if kind == "sigmoid" else expected.log_softmax(1)
    assert (logits.argmax(1) == expected.argmax(1)).all()
    assert logits.isfinite().all()
    logits = logits.log_softmax(1) if kind == "percent" else logits
    precision = 1e-1 if kind in ("softmax in half precision", "rounded") else 1e-3
    seen = expected > (-4 if kind == "rounded" else -8)  # half precision and the clipping cut what is smaller
    torch.testing.assert_close(logits[seen], expected[seen], atol=precision, rtol=precision)


@pytest.mark.parametrize("attack", ["deepfool", "ddn"])
def test_a_softmax_changes_no_attack(attack: str) -> None:
    images, labels = tiles()
    plain = raypipe.attack(PLAIN, images, labels, attack)
    with pytest.warns(Notice, match="gives probabilities"):
        other = raypipe.attack(Small(PROBABILITIES["softmax"]), images, labels, attack)
    assert plain.success.all()
    assert other.success.all()
    np.testing.assert_allclose(other.l2, plain.l2, rtol=0.1)


def test_a_network_that_takes_no_empty_batch_gives_no_logits_for_one() -> None:
    """A network that fails with an empty batch, as vision transformers of the package transformers do."""
    adapted, notices = adapt(lambda net, images: net(images).view(len(images), -1))
    assert (adapted.changes, notices) == ((), [])
    images = torch.rand(2, *SHAPE, requires_grad=True)
    torch.testing.assert_close(adapted.network(images), PLAIN(images))
    none = adapted.network(images[:0])
    assert none.shape == (0, CLASSES)
    assert none.requires_grad


NO_GRADIENT = {
    "no_grad": lambda net, images: torch.no_grad()(net)(images),
    "inference mode": lambda net, images: torch.inference_mode()(net)(images),
    "detach": lambda net, images: net(images.detach()),
    "NumPy": lambda net, images: torch.from_numpy(net(images).numpy()),
    "rounding": lambda net, images: net((255 * images).round() / 255),
    "saturated softmax": lambda net, images: (1e6 * net(images)).softmax(1),
}


@pytest.mark.parametrize("kind", NO_GRADIENT)
def test_a_network_without_gradients_says_that_success_says_nothing(kind: str) -> None:
    images, labels = tiles()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = raypipe.attack(Small(NO_GRADIENT[kind]), images, labels, "pgd", eps=8 / 255, max_iterations=2)
    assert not result.success.any()
    notices = " ".join(str(warning.message) for warning in caught if warning.category is Notice)
    assert "the model has no gradient (6 of 6 trial images)" in notices
    assert "6 of 6 tiles have no gradient: a white-box attack that fails on them does not show robustness" in notices


def test_tiles_without_a_gradient_are_counted_and_a_black_box_attack_needs_none() -> None:
    images, labels = tiles()
    half = Small(
        lambda net, images: net(torch.where(images.mean((1, 2, 3), keepdim=True) < MEDIAN, images, images.detach()))
    )
    with pytest.warns(Notice, match="3 of 6 tiles have no gradient"):
        raypipe.attack(half, images, labels, "pgd", eps=1e-9, max_iterations=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        raypipe.attack(half, images, labels, "square", eps=8 / 255, max_queries=2)


MEDIAN = float(np.median(tiles()[0].mean((1, 2, 3)))) / 255

REFUSED = {
    "half precision": (lambda net, images: net.half()(images), r"weights are float16 .* model\.float\(\)"),
    "double precision": (lambda net, images: net.double()(images), r"weights are float64 .* model\.float\(\)"),
    "in place": (lambda net, images: net(images.mul_(0.5)), r"begin its forward with images\.clone\(\)"),
    "in place, same values": (
        lambda net, images: net(images.clamp_(0, 1)),
        r"begin its forward with images\.clone\(\)",
    ),
    "other size": (
        lambda net, images: net(images[:, :, :8, :8]) if images.shape[-1] == 64 else net(images.flatten(2)),
        r"does not take float32 tiles .* takes tiles of 64 x 64 pixels: give such tiles \(--size 64\)",
    ),
    "no size": (lambda net, images: nn.Linear(3, 3)(images), r"does not take float32 tiles .* \(--size\)"),
    "channels last": (
        lambda net, images: net(images.permute(0, 3, 1, 2)),
        r"takes images \(n, h, w, 3\): begin its forward with images\.permute\(0, 2, 3, 1\)",
    ),
    "gray": (
        lambda net, images: net(nn.functional.conv2d(images, torch.ones(3, 1, 1, 1))),
        r"takes gray images: begin its forward with images\.mean\(1, keepdim=True\)",
    ),
    "NaN": (lambda net, images: net(images) * float("nan"), "gives NaN or infinity"),
    "one logit": (lambda net, images: net(images)[:, :1], r"gives \(6, 1\) for 6 tiles"),
    "two outputs": (lambda net, images: (net(images), images), "gives a tuple for 6 tiles"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_names_the_remedy_of_its_cause(case: str) -> None:
    forward, expected = REFUSED[case]
    with pytest.raises(ValueError, match=expected):
        adapt_network(Small(forward), SHAPE)


def test_what_is_no_model_is_refused() -> None:
    images, labels = tiles()
    with pytest.raises(ValueError, match=r"model is a str, expected a torch\.nn\.Module, or a function from images"):
        raypipe.attack("model.pt", images, labels, "fgsm", eps=1 / 255)  # type: ignore[arg-type]


def test_images_may_be_an_array_or_a_tensor_and_no_list() -> None:
    images, labels = tiles()
    made = raypipe.attack(PLAIN, images, labels, "fgsm", eps=1 / 255)
    first = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    again = raypipe.attack(PLAIN, first, torch.from_numpy(labels), "fgsm", eps=1 / 255)
    assert (made.images == again.images).all()
    with pytest.raises(ValueError, match=r"a list: expected a NumPy array or a tensor, .* numpy\.stack\(images\)"):
        raypipe.attack(PLAIN, images.tolist(), labels, "fgsm", eps=1 / 255)


def of_another_framework(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities as a function of JAX or Keras does: NumPy in, an array without gradients out."""
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    with torch.no_grad():
        return PLAIN(torch.from_numpy(images)).softmax(1).double().numpy()  # type: ignore[no-any-return]


def test_a_function_is_attacked_as_a_black_box(tmp_path: Path) -> None:
    images, labels = tiles()
    with pytest.warns(Notice, match=r"no gradients, because it is a function and no torch\.nn\.Module"):
        found = raypipe.attack(of_another_framework, images, labels, "square", eps=64 / 255, max_queries=50)
    assert found.success.any()
    with torch.no_grad():
        said = PLAIN(torch.from_numpy(found.images).permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    assert (found.success == (said != labels)).all()
    few = {"autoattack": None, "checks": None, "curves": {}, "to": str(tmp_path / "out")}
    with pytest.warns(Notice, match="gives probabilities"):
        result = raypipe.evaluate(of_another_framework, images, labels, {"square": {"max_queries": 5}}, **few)
    assert result.to_pandas().clean.item() == 1


def make_keras_function() -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
    """Return a function like `predict` of Keras 3 on JAX: once it has refused images, its weights are gone."""
    broken = False

    def predict(images: NDArray[np.float32]) -> NDArray[np.float64]:
        nonlocal broken
        if broken:
            raise TypeError("'NoneType' object is not callable")
        broken = True
        if not len(images) or images.shape[1:] != SHAPE:
            raise ValueError("unexpected shape")
        broken = False
        return of_another_framework(images)

    return predict


def test_a_function_never_gets_images_that_it_could_refuse(tmp_path: Path) -> None:
    images, labels = tiles()
    few = {"autoattack": None, "checks": None, "curves": {}, "to": str(tmp_path / "out")}
    with pytest.warns(Notice):
        result = raypipe.evaluate(make_keras_function(), images, labels, {"square": {"max_queries": 5}}, **few)
    assert result.to_pandas().clean.item() == 1


def test_a_function_of_images_with_channels_last_is_refused_with_one_that_transposes() -> None:
    def call(images: NDArray[np.float32]) -> NDArray[np.float64]:
        if images.shape[-1] != 3:
            raise ValueError("Exception encountered when calling Sequential.call().\n\nexpected axis -1 of 3, got 4")
        return of_another_framework(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    images, labels = tiles()
    with pytest.raises(
        ValueError, match=r"expected axis -1 of 3, got 4\); .* lambda images: model\(images\.transpose\(0, 2, 3, 1\)"
    ):
        raypipe.attack(call, images, labels, "square", eps=1 / 255)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    model = Small(lambda net, images: torch.zeros(len(images), CLASSES))
    with torch.no_grad():
        model.layers[3].bias[0] = value
    with pytest.raises(ValueError, match=r"'layers\.3\.bias' and 0 other tensors hold NaN or infinity"):
        adapt_network(model, SHAPE)
    mask = Small(lambda net, images: net(images))
    mask.register_buffer("mask", torch.tensor(-torch.inf))
    assert adapt_network(mask, SHAPE).classes == CLASSES, "a mask of attention may be infinite"


class Baked(nn.Module):
    """A network that a trace fixes to the batch of its example."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = PLAIN.layers

    def forward(self, images: Tensor) -> Tensor:
        found = self.layers[1](self.layers[0](images))
        return self.layers[3](found.reshape(int(images.shape[0]), 144))  # type: ignore[no-any-return]


@pytest.mark.parametrize("size", [1, 4, 12])
@pytest.mark.parametrize("form", ["model.pt2", "model.pt"])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_program_of_one_batch_size_gives_the_logits_of_any_batch(form: str, size: int, tmp_path: Path) -> None:
    example = torch.rand(size, *SHAPE)
    if form == "model.pt2":
        torch.export.save(torch.export.export(Baked(), (example,)), tmp_path / form)
    else:
        torch.jit.save(torch.jit.trace(Baked(), example), tmp_path / form)
    with pytest.warns(Notice, match=f"takes only batches of {size}"):
        adapted = adapt_network(open_model(str(tmp_path / form), ()).network, SHAPE)
    assert (adapted.changes, adapted.differentiable) == ((f"batches of {size}",), True)
    images = torch.rand(7, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(adapted.network(images), PLAIN(images))
        assert adapted.network(images[:0]).shape == (0, CLASSES)


@pytest.mark.parametrize(
    ("limits", "example", "sizes"),
    [
        ({"min": 2, "max": 4}, 2, "at most 4"),
        ({"min": 3, "max": 5}, 4, "at least 3 and at most 5"),
        ({"max": 16}, 2, "at most 16"),
        ({"min": 8}, 8, "at least 8"),
    ],
)
@pytest.mark.parametrize("where", ["file", "module"])
def test_a_program_of_a_limited_batch_size_gives_the_logits_of_any_batch(
    limits: dict[str, int], example: int, sizes: str, where: str, tmp_path: Path
) -> None:
    batch = torch.export.Dim("batch", **limits)
    program = torch.export.export(PLAIN, (torch.rand(example, *SHAPE),), dynamic_shapes=({0: batch},))
    network = program.module()
    if where == "file":
        torch.export.save(program, tmp_path / "model.pt2")
        network = open_model(str(tmp_path / "model.pt2"), ()).network
    with pytest.warns(Notice, match=f"takes only batches of {sizes}"):
        adapted = adapt_network(network, SHAPE)
    assert (adapted.changes, adapted.differentiable) == ((f"batches of {sizes}",), True)
    for count in (0, 1, 2, 7, 40):
        images = torch.rand(count, *SHAPE)
        with torch.no_grad():
            torch.testing.assert_close(adapted.network(images), PLAIN(images))


def test_a_program_of_any_batch_size_is_left_as_it_is() -> None:
    for batch in (torch.export.Dim("batch"), torch.export.Dim.DYNAMIC):
        program = torch.export.export(PLAIN, (torch.rand(2, *SHAPE),), dynamic_shapes=({0: batch},)).module()
        with warnings.catch_warnings():
            warnings.simplefilter("error", Notice)
            assert adapt_network(program, SHAPE).network is program
