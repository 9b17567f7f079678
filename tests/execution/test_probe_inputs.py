"""The trial of how a model treats its images: normalization inside, normalization that is missing, and resizing."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.base.errors import Notice
from raypipe.execution.probe_inputs import find_resizing, report_preprocessing
from raypipe.models.finished_model import FinishedModel, Program, wrap_module
from raypipe.models.foreign.normalized import Normalized

SIZE = 32


class Threshold(nn.Module):
    """A network that tells dark from bright images, with its threshold on normalized values."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, images: Tensor) -> Tensor:
        score = images.mean((1, 2, 3)) - self.threshold
        return torch.stack([-score, score], 1)


def notices(network: nn.Module) -> list[str]:
    """Return what is said of a network on tiles of which half are darker than 0.4."""
    labels = np.arange(24) % 2
    images = np.stack([np.full((SIZE, SIZE, 3), 60 + 90 * label, np.uint8) for label in labels])
    model: FinishedModel = wrap_module(network, "net", ("dark", "bright"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report_preprocessing(model, images, labels)
    return [str(warning.message) for warning in caught if warning.category is Notice]


def test_nothing_is_said_of_a_model_that_takes_tiles_as_they_are() -> None:
    assert notices(Threshold(0.4)) == []


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(-0.2, "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"), (100.0, "--std 0.00392157,0.00392157,0.00392157")],
)
def test_a_model_that_expects_normalized_images_is_recognized(threshold: float, expected: str) -> None:
    (notice,) = notices(Threshold(threshold))
    assert "classifies 12 of 24 tiles correctly, and 24 if they are normalized" in notice
    assert expected in notice


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_model_with_its_normalization_inside_is_recognized_in_any_form() -> None:
    network = Normalized(Threshold(-0.2), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    script = torch.jit.trace(network, torch.rand(1, 3, SIZE, SIZE))
    for form in (network, nn.Sequential(network), Program(script)):
        (notice,) = notices(form)
        assert notice == (
            "the model normalizes its images itself (mean 0.5, 0.5, 0.5, standard deviation 0.5, 0.5, 0.5)"
        )


def test_nothing_is_tried_without_tiles() -> None:
    class Untouched(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise AssertionError

    model = wrap_module(Untouched(), "net", ("dark", "bright"))
    report_preprocessing(model, np.empty((0, 1, 1, 3), np.uint8), np.empty(0, np.int64))


class Convolution(nn.Module):
    """A convolutional network behind any function of the images."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.change = change
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(self.change(images))  # type: ignore[no-any-return]


def resize(images: Tensor) -> Tensor:
    return F.interpolate(images, (48, 48), mode="bilinear")


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
def test_a_resizing_is_seen_at_the_first_convolution_and_in_a_program_by_its_logits() -> None:
    assert find_resizing(Convolution(resize), SIZE) == 48
    assert find_resizing(Convolution(lambda images: images), SIZE) is None
    assert find_resizing(Threshold(0.4), SIZE) is None, "the mean of all pixels says nothing"
    for change, found in ((lambda images: F.interpolate(images, (16, 16), mode="bilinear"), 0), (lambda x: x, None)):
        program = torch.jit.trace(Convolution(change).eval(), torch.rand(2, 3, SIZE, SIZE))
        assert find_resizing(Program(program), SIZE) == found
