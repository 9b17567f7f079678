"""Robust accuracy on held-out tiles, by which a search compares models."""

import numpy as np
import torch
from numpy.typing import NDArray

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.prepare import prepare
from raypipe.attacks.engine.victim import freeze
from raypipe.models.classifier import Classifier

BATCH = 64
"""Number of tiles per pass. It is fixed, because trials of batch sizes would cost more than they save."""


def measure_robust_accuracy(
    classifier: Classifier,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    attack: NamedAttack,
    device: torch.device,
) -> float:
    """Return the share of tiles that the classifier classifies correctly under an attack on itself, in [0, 1].

    As in the report, success counts on 8-bit tiles.

    Parameters
    ----------
    classifier
        Classifier on `device`. Its mode is restored afterwards.
    images, labels
        (n, h, w, channels) tiles, uint8, and (n,) true classes.
    attack
        Settings of the attack.
    device
        Device of the classifier.
    """
    _, height, width, channels = images.shape
    with freeze(classifier):
        model = prepare(classifier, (channels, height, width), device=device, batch_size=BATCH)
        found = generate(model, images, labels, attack)
    return float((found.adversarial_prediction == labels).mean())
