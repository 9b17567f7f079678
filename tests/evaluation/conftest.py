"""A small undefended classifier, and variants that hide its gradients without a defense."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.models.transforms.bit_depth import BitDepth, ReducedBitDepth

CLASSES = 3
MASKS = ("quantized", "thermometer", "overconfident", "saturating", "noisy", "shattered", "high frequency")
"""Models that only hide their gradients."""


class SmallNet(nn.Module):
    """A network with batch normalization and dropout, which reveal a forgotten evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 32, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
        )
        self.head = nn.Linear(128, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone((images - 0.5) / 0.5))


class RandomSigns(torch.autograd.Function):
    """The identity with a gradient whose signs follow from the pixels: the gradient exists, but means nothing."""

    @staticmethod
    def forward(context: Any, images: Tensor) -> Tensor:
        context.save_for_backward(images)
        return images.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (images,) = context.saved_tensors
        return gradient * torch.where(torch.sin(images * 1e5) > 0, 1, -1)


class Behind(nn.Module):
    """A model behind a change of its images and a change of its logits."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(self.shown(images))
        if self.name == "overconfident":
            return logits * 1e4
        return torch.softmax(logits * 300, 1) if self.name == "saturating" else logits

    def shown(self, images: Tensor) -> Tensor:
        match self.name:
            case "quantized":  # 3 bits, as a defense: Guo et al., 2018, arXiv:1711.00117
                images = ReducedBitDepth(BitDepth(bits=3, gradient="zero"))(images, lambda rounded: rounded)
            case "straight through":
                images = ReducedBitDepth(BitDepth(bits=3))(images, lambda rounded: rounded)
            case "thermometer":  # the share of thresholds below each value: Buckman et al., 2018
                images = (images[..., None] > torch.linspace(0.03, 0.97, 16)).to(images).mean(-1)
            case "noisy":
                images = images + 0.05 * torch.randn_like(images)
            case "shattered":
                images = RandomSigns.apply(images)
            case "high frequency":  # zero at every 8-bit value, with a slope of 16 there in either direction
                images = images + 0.02 * torch.sin(torch.pi * 255 * images)
        return images


@dataclass(frozen=True)
class Tested:
    models: dict[str, nn.Module]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def draw(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return noisy stripes whose direction and tint follow the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    angles = np.pi * labels / CLASSES + rng.normal(0, 0.1, count)
    across, down = np.meshgrid(np.arange(16), np.arange(16))
    phases = np.cos(angles)[:, None, None] * across + np.sin(angles)[:, None, None] * down
    stripes = np.sin(1.3 * phases + rng.uniform(0, 2 * np.pi, count)[:, None, None])[..., None]
    tints = 0.1 * np.eye(3)[labels][:, None, None, :]
    images = 0.5 + 0.2 * stripes + tints + rng.normal(0, 0.1, (count, 16, 16, 3))
    return (255 * images.clip(0, 1)).astype(np.uint8), labels


@pytest.fixture(scope="session")
def tested() -> Tested:
    """Return the models by name, in training mode, and 32 tiles."""
    images, labels = draw(384, seed=1)
    inputs, truth = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallNet()
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(8):
            for rows in torch.randperm(len(inputs)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(model(inputs[rows]), truth[rows]).backward()
                optimizer.step()
        optimizer.zero_grad()
    names = ("undefended", "straight through", *MASKS)
    return Tested({name: Behind(model, name) for name in names}, *draw(32, seed=2))
