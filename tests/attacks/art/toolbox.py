"""Models and classifiers of the toolbox, for the tests of our attacks in its interface."""

from contextlib import contextmanager

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import nn

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
NAMED = {
    "DeepFool": {},
    "CarliniL2Method": {"binary_search_steps": 3, "initial_const": 1.0},
    "SaliencyMapMethod": {"theta": 0.5},
    "FastGradientMethod": {"eps": 0.1},
    "ProjectedGradientDescent": {"eps": 0.08, "eps_step": 0.02, "max_iter": 10},
    "AutoProjectedGradientDescent": {"eps": 0.08, "max_iter": 10, "nb_random_init": 1},
}
"""Attacks of the toolbox that we have too, and the comparison for each."""
IN_PIXELS = ("eps", "eps_step", "theta")
"""Arguments in units of the pixels."""


class Normalized(nn.Module):
    """A model of [0, 1] images as a model of standardized images of another range."""

    def __init__(self, model, span=1.0, mean=0.0, std=1.0):
        super().__init__()
        self.model = model
        self.span = span
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images):
        return self.model((images * self.std + self.mean) / self.span)


def wider(model, span, low):
    """Return a model of [0, 1] images as a model of images from `low` to `low + span`."""
    return Normalized(model, span=float(span), mean=-float(low))


class ChannelsLast(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images.permute(0, 3, 1, 2))


class WithAuxiliary(nn.Module):
    """A model with two heads during training, like GoogLeNet."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        logits = self.model(images)
        return (logits, logits.flip(1)) if self.training else logits


class Blur(PreprocessorPyTorch):
    """A preprocessing step in PyTorch, because the toolbox's own steps need packages that it does not require."""

    def forward(self, x, y=None):
        return nn.functional.avg_pool2d(x, 3, stride=1, padding=1), y


def to_art_classifier(model, classes=3, shape=(3, 16, 16), clip_values=(0.0, 1.0), **options):
    return PyTorchClassifier(
        model, nn.CrossEntropyLoss(), shape, classes, clip_values=clip_values, device_type="cpu", **options
    )


@contextmanager
def numpy_seeded():
    """Seed NumPy's global generator, from which the toolbox draws."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    yield
    np.random.set_state(state)  # noqa: NPY002


def predicted(classifier, images):
    return classifier.predict(images).argmax(1)


def lengths(difference):
    return np.linalg.norm(difference.reshape(len(difference), -1), axis=1)


def size(name, difference):
    """Return the norm of each image's perturbation that the attack keeps small."""
    flat = np.abs(difference.reshape(len(difference), -1))
    if name == "SaliencyMapMethod":
        return np.count_nonzero(flat, axis=1)
    return np.linalg.norm(flat, axis=1) if name in {"DeepFool", "CarliniL2Method"} else flat.max(axis=1)
