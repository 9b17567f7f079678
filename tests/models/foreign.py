"""A user's own network, as an experiment names it: ``module:tests.models.foreign:build``."""

from typing import Any

import torch
from torch import Tensor, nn


class Own(nn.Module):
    """A network with dropout, and with an auxiliary head in training."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2))
        self.auxiliary = nn.Linear(16, num_classes)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, num_classes)

    def forward(self, images: Tensor) -> Any:
        found = self.features(images).mean((2, 3))
        logits = self.head(self.drop(found))
        return {"aux": self.auxiliary(found), "logits": logits, "features": found} if self.training else logits


def build(num_classes: int) -> nn.Module:
    return Own(num_classes)


def not_a_network(num_classes: int) -> int:
    return num_classes


def raises(num_classes: int) -> nn.Module:
    raise RuntimeError(f"no {num_classes} today")


def features_only(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def softmax(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes), nn.Softmax(1))


def sigmoid(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes), nn.Sigmoid())


def pairs(num_classes: int) -> nn.Module:
    class Pairs(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return torch.zeros(len(images), num_classes), images

    return Pairs()
