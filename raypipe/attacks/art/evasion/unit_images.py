"""A classifier of the Adversarial Robustness Toolbox in the form that raypipe's attacks need."""

from typing import Any

import numpy as np
import torch
from art.preprocessing.standardisation_mean_std.numpy import StandardisationMeanStd
from art.preprocessing.standardisation_mean_std.pytorch import StandardisationMeanStdPyTorch
from art.preprocessing.standardisation_mean_std.utils import broadcastable_mean_std
from numpy.typing import NDArray
from torch import Tensor, nn


class UnitImages(nn.Module):
    """A `PyTorchClassifier` as a network from images (n, channels, h, w) in [0, 1] to logits.

    It includes the preprocessing but not the postprocessing, because attacks use the logits.

    Parameters
    ----------
    classifier
        An `art.estimators.classification.PyTorchClassifier` of images, with one pair of `clip_values`. Its model is
        shared, not copied.

    Raises
    ------
    ValueError
        If the inputs are not images, or have no bounds or more than one pair of bounds. Also if a preprocessing step
        has no PyTorch form, because no gradient would pass through it.
    """

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        if len(classifier.input_shape) != 3:
            raise ValueError(f"the classifier's input_shape is {classifier.input_shape}: expected that of an image")
        self.low, self.span = _read_range(classifier.clip_values)
        self.channels_first = bool(classifier.channels_first)
        self.preprocessing = nn.Sequential(*_list_preprocessing(classifier))
        self.network: nn.Module = classifier.model

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images (n, channels, h, w) in [0, 1]."""
        outputs = self.network(self.preprocessing(self.to_theirs(images)))
        return outputs[-1] if isinstance(outputs, list | tuple) else outputs  # type: ignore[no-any-return]

    def arranged(self, images: Tensor) -> Tensor:
        """Return images (n, channels, h, w) with their dimensions in the classifier's order."""
        return images if self.channels_first else images.permute(0, 2, 3, 1)

    def to_theirs(self, images: Tensor) -> Tensor:
        """Convert images (n, channels, h, w) in [0, 1] to the classifier's range and order of dimensions."""
        return self.arranged(self.low + self.span * images)

    def to_ours(self, images: Tensor) -> Tensor:
        """Convert the classifier's images to (n, channels, h, w) in [0, 1]. Values out of range are clipped."""
        scaled = ((images - self.low) / self.span).clamp(0, 1)
        return scaled if self.channels_first else scaled.permute(0, 3, 1, 2).contiguous()


class _Standardize(nn.Module):
    """Standardization with constant tensors: tracing cannot follow the toolbox, which creates them in each pass."""

    def __init__(self, mean: NDArray[np.float32], std: NDArray[np.float32]) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.from_numpy(np.array(mean, dtype=np.float32)))
        self.register_buffer("std", torch.from_numpy(np.array(std, dtype=np.float32)))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class _Step(nn.Module):
    """Another preprocessing step that the toolbox computes with PyTorch."""

    def __init__(self, step: Any) -> None:
        super().__init__()
        self.step = step

    def forward(self, images: Tensor) -> Tensor:
        prepared: Tensor = self.step.forward(images)[0]
        return prepared


def _read_range(clip_values: Any) -> tuple[float, float]:
    """Return the lowest value, and the difference between the highest and the lowest."""
    if clip_values is None:
        raise ValueError("the classifier has no clip_values: attacks need them, for the range of the pixels")
    low, high = np.unique(clip_values[0]), np.unique(clip_values[1])
    if len(low) != 1 or len(high) != 1:
        raise ValueError("the classifier's clip_values differ from pixel to pixel: expected one lowest, one highest")
    return float(low[0]), float(high[0] - low[0])


def _list_preprocessing(classifier: Any) -> list[nn.Module]:
    steps: list[nn.Module] = []
    for operation in classifier.preprocessing_operations:
        if not operation.apply_predict:
            continue
        if isinstance(operation, StandardisationMeanStd | StandardisationMeanStdPyTorch):
            sample = np.empty((1, *classifier.input_shape), dtype=np.float32)
            steps.append(_Standardize(*broadcastable_mean_std(sample, operation.mean, operation.std)))
        elif classifier.all_framework_preprocessing:
            steps.append(_Step(operation))
        else:
            raise ValueError(
                f"the classifier's preprocessing by {type(operation).__name__} has no gradient: expected steps that "
                "the toolbox computes with PyTorch; take such a step's PyTorch form, or put it into the model"
            )
    return [step.to(classifier.device) for step in steps]
