"""Small victims on synthetic tissue: striped, tinted patches that a two-layer network learns in a second."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.generate import Adversarials, generate
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.prepare import PreparedModel, prepare

SIZE = 16
WIDE_STAINS = {
    "hematoxylin_factor": [0, 4],
    "eosin_factor": [0, 4],
    "hematoxylin_shift": [-1.5, 1.5],
    "eosin_shift": [-1.5, 1.5],
}
"""Ranges of the stain attack within which it fools the small victims."""


@dataclass(frozen=True)
class Case:
    model: nn.Module
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    @property
    def floats(self) -> Tensor:
        return torch.from_numpy(self.images).permute(0, 3, 1, 2).float() / 255

    @property
    def truth(self) -> Tensor:
        return torch.from_numpy(self.labels)

    @property
    def goal(self) -> Goal:
        return Goal(self.truth)

    def prepared(self, batch_size: int = 8) -> PreparedModel:
        """Prepare the model in one fixed memory format, because trials would make results differ by float noise."""
        height, width, channels = self.images.shape[1:]
        return prepare(self.model, (channels, height, width), device="cpu", batch_size=batch_size)

    def attacked(self, settings: NamedAttack, batch_size: int = 8) -> Adversarials:
        return generate(self.prepared(batch_size), self.images, self.labels, settings)


class SmallNet(nn.Module):
    """A network with batch normalization and dropout, which reveal a forgotten evaluation mode."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(96, classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features((images - 0.5) / 0.5))


def tiles(classes: int, count: int, seed: int, size: int = SIZE) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return stripes whose direction and tint follow the class, on noise with some black and white pixels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % classes
    across, down = np.meshgrid(np.arange(size), np.arange(size))
    angle = np.pi * labels / classes + rng.normal(0, 0.1, count)
    phase = across * np.cos(angle)[:, None, None] + down * np.sin(angle)[:, None, None]
    stripes = np.sin(phase * 1.3 + rng.uniform(0, 2 * np.pi, count)[:, None, None])
    tint = 0.08 * np.stack([np.cos(2 * np.pi * labels / classes + turn) for turn in (0, 2.1, 4.2)], axis=1)
    images = 0.6 + 0.22 * stripes[..., None] + tint[:, None, None, :] + rng.normal(0, 0.12, (count, size, size, 3))
    return np.clip(images * 255, 0, 255).astype(np.uint8), labels


def trained(classes: int, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(classes + seed)
        model = SmallNet(classes)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        images, labels = tiles(classes, 512, seed=1)
        inputs, truth = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels)
        for _ in range(8):
            for rows in torch.randperm(len(inputs)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(model(inputs[rows]), truth[rows]).backward()
                optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def cases() -> dict[int, Case]:
    """Return a victim per number of classes, in training mode, and 16 tiles, two of them with a wrong label."""
    made = {}
    for classes in (2, 3, 5, 10):
        images, labels = tiles(classes, 16, seed=2)
        images[4, :8] = 255
        images[5, 8:] = 0
        labels[[6, 11]] = (labels[[6, 11]] + 1) % classes
        made[classes] = Case(trained(classes), images, labels)
    return made
