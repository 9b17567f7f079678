"""The network passes of a defense, counted on a tiny network, so that no defense has to declare its cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from statistics import mean

import numpy as np
import torch
from torch import Tensor, nn

from raypipe.defenses.base import CertifiedDefense, Defense, StaticTraining
from raypipe.models.classifier import Classifier
from raypipe.plan.cells import Cell
from raypipe.training.recipe import Recipe

SIDE, TILES, CLASSES = 8, 2, 2
MOMENTS = 10
"""Number of moments of a fit, evenly apart, whose steps are counted; a rising radius makes early steps cheaper."""
FORWARD_SHARE = 1 / 3
"""Share of a training step's time for the forward pass; the backward pass takes twice as long."""


@cache
def count_training_steps(defense: Defense) -> float:
    """Return the number of plain training steps that one step of the defense equals, with its repeats of a batch."""
    with _preserve_state():
        clean, model = _build_tiny(defense).eval(), _build_tiny(defense).train()
        steps = defense.prepare_training(clean, Recipe(), clean)
        labels = torch.arange(TILES) % CLASSES
        images = torch.rand(TILES, 3, SIDE, SIDE)
        results = [steps.objective(model, images, labels, (moment + 0.5) / MOMENTS) for moment in range(MOMENTS)]
    forwards, backwards = mean(each.forwards for each in results), mean(each.backwards for each in results)
    return steps.repeats * (FORWARD_SHARE * forwards + (1 - FORWARD_SHARE) * backwards)


def count_hardening_steps(cell: Cell, training_tiles: int) -> float:
    """Return the number of plain training steps, one tile each, that a hardening equals in time.

    Every candidate of a search counts with all its epochs, although some are stopped early.
    """
    defense: Defense = cell.spec.defense
    tiles = training_tiles
    if isinstance(defense, StaticTraining):
        tiles = sum(len(positions) for positions in defense.choose(training_tiles, cell.spec.seed))
    return tiles * sum(count_training_steps(each) * each.epochs for each in defense.list_candidates() if each.epochs)


@cache
def count_prediction_passes(defense: Defense) -> float:
    """Return the number of passes through the network per prediction of the hardened model."""
    model, counts = _build_tiny(defense).eval(), list[int]()

    def count(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:  # noqa: ARG001  required by the hook
        counts.append(len(arguments[0]))

    with _preserve_state(), torch.no_grad():
        model.network.register_forward_pre_hook(count)
        model(torch.rand(TILES, 3, SIDE, SIDE))
    return sum(counts) / TILES


@cache
def count_certificate_passes(defense: CertifiedDefense) -> float:
    """Return the number of forward passes per tile for the certificate."""
    tiles = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    with _preserve_state():
        certificates = defense.certify(_build_tiny(defense).eval(), tiles, torch.device("cpu"), seed=0)
    return float(certificates.forwards.mean())


def _build_tiny(defense: Defense) -> Classifier:
    """Return a linear classifier behind the defense's input transform; interval bounds hold for it too."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES))
    return Classifier(network, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), defense.build_input_transform())


@contextmanager
def _preserve_state() -> Iterator[None]:
    """Preserve the random state, and use one thread: on a tiny network several threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
