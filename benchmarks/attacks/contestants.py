"""What a contestant is, and what it gets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.prepare import PreparedModel
from raypipe.attacks.engine.targets import runner_up

Norm = Literal["l0", "l2", "linf"]
FAMILIES: dict[str, Norm] = {
    "deepfool": "l2",
    "carlini_wagner_l2": "l2",
    "minimal_l2": "l2",
    "saliency_map": "l0",
    "sparse_l0": "l0",
    "pgd": "linf",
    "apgd": "linf",
}
"""The kinds of attacks that are compared, and the norm that each keeps small."""
BOUNDED = frozenset({"pgd", "apgd"})
"""Those whose distortion is given, so that only success tells them apart."""
EPS = 2 / 255
"""The radius of the bounded ones."""


@dataclass(frozen=True)
class Task:
    """Tiles and the model that gets them wrong if a contestant succeeds.

    Parameters
    ----------
    model
        The plain model, as a user of any library has it: in evaluation mode, its parameters not frozen.
    prepared
        The same model made ready for raypipe's attacks.
    images
        (n, channels, h, w), float32 in [0, 1]; all are classified right.
    labels, logits
        (n,) true classes and (n, classes) logits of the plain model.
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
        """(n,) the likeliest wrong classes, for attacks that must be given one."""
        return runner_up(self.logits, self.labels)

    def take(self, which: slice) -> "Task":
        """The same with some of the tiles."""
        return replace(self, images=self.images[which], labels=self.labels[which], logits=self.logits[which])


class Plain(nn.Module):
    """A model without a structure to look into: the Adversarial Robustness Toolbox takes an `nn.Sequential` apart."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes)."""
        logits: Tensor = self.model(images)
        return logits


@dataclass(frozen=True)
class Contestant:
    """One line of the comparison.

    Parameters
    ----------
    attack
        A key of `FAMILIES`.
    library
        Whose it is.
    label
        Unique among the library's contestants in this family.
    run
        Task -> (n, channels, h, w) images.
    settings
        Of raypipe's own; makes them when called, since an attack may not be there.
    parameters
        Of the others', for the record: what is not said is the library's default.
    slow
        Runs on a few tiles only.
    one_by_one
        Gets the tiles one after the other, as its library does by default; each may take an equal share of what is left
        of the time limit.
    tiles
        Of the few, at most this many.
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
        """Whether it is raypipe's."""
        return self.settings is not None


def task_of(model: nn.Module, prepared: PreparedModel, images: Tensor, labels: Tensor) -> Task:
    """A task of float images.

    Raises
    ------
    ValueError
        If the model gets one of them wrong: no figure of such a tile would mean anything.
    """
    with torch.no_grad():
        logits = model(images)
    wrong = int((logits.argmax(1) != labels).sum())
    if wrong:
        raise ValueError(f"{wrong} of {len(labels)} tiles are misclassified before any attack: expected none")
    return Task(model, prepared, images, labels, logits)
