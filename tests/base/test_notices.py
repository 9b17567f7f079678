"""Notices, which name the line of the user's program and not one of this package."""

import numpy as np
import pytest
import torch
from torch import nn

import raypipe
from raypipe.base.errors import Notice


def test_a_notice_names_the_line_of_the_user() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2), nn.Softmax(1))
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    with torch.no_grad():
        labels = network(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    with pytest.warns(Notice, match="gives probabilities") as caught:
        raypipe.attack(network, images, labels, "fgsm", eps=1 / 255, classes=["a", "b"])
    assert [warning.filename for warning in caught] == [__file__]
