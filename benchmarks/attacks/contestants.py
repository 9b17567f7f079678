"""The contestants, and the task that each gets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.prepare import PreparedModel
from raypipe.attacks.engine.targets import find_runner_up
from raypipe.base.norms import StoredNorm

FAMILIES: dict[str, StoredNorm] = {
    "deepfool": "l2",
    "carlini_wagner_l2": "l2",
    "minimal_l2": "l2",
    "saliency_map": "l0",
    "sparse_l0": "l0",
    "pgd": "linf",
    "apgd": "linf",
    "autoattack": "linf",
}
"""Families of attacks that are compared, with the norm that each minimizes."""
BOUNDED = frozenset({"pgd", "apgd", "autoattack"})
"""Families with a given distortion, which only success distinguishes."""
EPS = 2 / 255
"""Radius of the bounded attacks."""


@dataclass(frozen=True)
class Task:
    """Tiles, and the model that misclassifies them if a contestant succeeds.

    Parameters
    ----------
    model
        Plain model, as a user of any library has it: in evaluation mode, its parameters not frozen.
    prepared
        The model prepared for raypipe's attacks.
    images
        Images (n, channels, h, w), float32 in [0, 1]; all are classified correctly.
    labels, logits
        (n,) true classes, and (n, classes) logits of the plain model.
    """

    model: nn.Module
    prepared: PreparedModel
    images: Tensor
    labels: Tensor
    logits: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def targets(self) -> Tensor:
        """(n,) most likely wrong classes, for attacks that need a target class."""
        return find_runner_up(self.logits, self.labels)

    def take(self, which: slice) -> "Task":
        """Return the task with some of its tiles."""
        return replace(self, images=self.images[which], labels=self.labels[which], logits=self.logits[which])


class Plain(nn.Module):
    """A model without visible structure, because the Adversarial Robustness Toolbox takes an `nn.Sequential` apart."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes)."""
        logits: Tensor = self.model(images)
        return logits


@dataclass(frozen=True)
class Contestant:
    """One line of the comparison.

    Parameters
    ----------
    attack
        Family of the attack, a key of `FAMILIES`.
    library
        Name of the library.
    label
        Label, unique among the library's contestants in this family.
    run
        Function from a task to images (n, channels, h, w).
    settings
        Function that makes the settings of raypipe's own attack; called late, because an attack may be missing.
    parameters
        Parameters of another library's attack, for the record; the others are the library's defaults.
    slow
        True if it runs on a few tiles only.
    one_by_one
        True if it gets the tiles one by one, as its library does by default. Each tile may take an equal share of the
        remaining time limit.
    tiles
        Largest number of the few tiles that it gets.
    """

    attack: str
    library: str
    label: str
    run: Callable[[Task], Tensor]
    settings: Callable[[], NamedAttack] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = False
    one_by_one: bool = False
    tiles: int | None = None

    @property
    def ours(self) -> bool:
        """True if the contestant is raypipe's."""
        return self.settings is not None


def task_of(model: nn.Module, prepared: PreparedModel, images: Tensor, labels: Tensor) -> Task:
    """Return the task for float images.

    Raises
    ------
    ValueError
        If the model misclassifies a tile, because no figure of such a tile would have a meaning.
    """
    with torch.no_grad():
        logits = model(images)
    wrong = int((logits.argmax(1) != labels).sum())
    if wrong:
        raise ValueError(f"{wrong} of {len(labels)} tiles are misclassified before any attack: expected none")
    return Task(model, prepared, images, labels, logits)
