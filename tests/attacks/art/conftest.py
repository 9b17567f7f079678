"""A classifier of the toolbox and its images."""

import copy

import pytest

from tests.attacks.art.toolbox import to_art_classifier


@pytest.fixture
def x(cases):
    return cases[3].floats.numpy()


@pytest.fixture
def classifier(cases):
    """Return a classifier with a model of its own, because the toolbox's attacks leave gradients in the weights."""
    return to_art_classifier(copy.deepcopy(cases[3].model))
