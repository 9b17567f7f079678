"""The attacks of the Adversarial Robustness Toolbox (Nicolae et al., 2018, arXiv:1807.01069), run unchanged.

The toolbox is imported only when an attack is named. Its import takes seconds and creates a directory in the home
directory.
"""

import inspect
import math
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from raypipe.attacks.art.classes import (
    AIMED,
    LABELED,
    ONE_BY_ONE,
    OWN_BATCHES,
    PROBABILITIES,
    check_parameters,
    get_attack_class,
    to_art_classifier,
)
from raypipe.attacks.art.threats import get_ball, get_knowledge, get_minimized_norm
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.targets import draw_targets
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import AnyNorm, Ball
from raypipe.base.threat import Knowledge


class ArtAttack(NamedAttack):
    """Settings of `art_attack`.

    Parameters
    ----------
    name
        Name of a raypipe attack that the toolbox also has, such as ``deepfool``, or name of a class in
        ``art.attacks.evasion``. A class that cannot attack tiles is an error, and the message gives the reason.
    parameters
        Arguments of its constructor, without the classifier and the batch size. Arguments that are missing have the
        toolbox's defaults.
    batch_size
        Number of tiles handed to the attack at once. The toolbox's own default, 1, wastes most of the time.
    seed
        Seed of random targets, and of attacks that draw random numbers.
    """

    backend: Literal["art"]
    name: str
    parameters: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    batch_size: int = Field(32, ge=1)
    seed: int = Field(0, ge=0)

    @property
    def ball(self) -> Ball | None:
        """Ball that the toolbox's parameters set, or None."""
        return get_ball(self.name, self.parameters)

    @property
    def minimizes(self) -> AnyNorm:
        """Norm that the toolbox's attack minimizes."""
        return get_minimized_norm(self.name, self.parameters)

    @property
    def knowledge(self) -> Knowledge:
        """Knowledge of the model that the toolbox's attack needs."""
        return get_knowledge(self.name, self.parameters)

    @field_validator("name")
    @classmethod
    def _require_known(cls, name: str) -> str:
        get_attack_class(name)
        return name

    @field_validator("parameters")
    @classmethod
    def _accepted(cls, parameters: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "name" in info.data:  # Without it the name is invalid, and that error is already reported.
            check_parameters(info.data["name"], parameters)
            get_ball(info.data["name"], parameters)
        return parameters


def art_attack(victim: Victim, images: Tensor, goal: Goal, settings: ArtAttack) -> Tensor:
    """Run one of the toolbox's attacks on the tiles that the model classifies correctly.

    Untargeted attacks use the model's predictions as labels, and for these tiles the predictions are the true classes.
    Some attacks aim at a class, by their nature or with ``targeted: true``. Their target is a random wrong class, drawn
    from each tile's pixels, because the toolbox itself would draw it from a global generator. Universal perturbations
    are universal for the tiles of a batch.

    Parameters
    ----------
    victim
        The frozen model. It counts the toolbox's passes for a whole batch, and shares them evenly among the batch's
        tiles, rounded up.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave.
    settings
        The attack, its parameters and the batch size. The pixels of each batch seed the attacks that draw random
        numbers. The same batch gives the same result, but other batches of the same tiles may give another one.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1]; misclassified tiles are unchanged. The toolbox's result for a
        failure depends on the attack. Carlini and Wagner's attack returns the clean image.

    Raises
    ------
    ValueError
        If the attack returns something other than perturbed images.
    """
    result, labels, kind = images.clone(), goal.classes, get_attack_class(settings.name).__name__
    for rows in torch.split(victim.rows(), settings.batch_size):
        with torch.no_grad():
            logits = victim.logits(images[rows], rows)
        right = rows[logits.argmax(1) == labels[rows]]
        if not len(right):
            continue
        model, classes = _Counting(victim.model, probabilities=kind in PROBABILITIES), logits.shape[1]
        for tiles in torch.split(right, 1 if kind in ONE_BY_ONE else len(right)):
            result[tiles] = _generate(model, images[tiles], labels[tiles], classes, settings)
        victim.forwards[right] += math.ceil(model.forwards / len(right))
        victim.backwards[right] += math.ceil(model.backwards / len(right))
    return result


class _Counting(nn.Module):
    """The model that the toolbox calls, which counts passes. It is no `nn.Sequential`: the toolbox would unroll one."""

    def __init__(self, model: nn.Module, probabilities: bool) -> None:
        super().__init__()
        self.model = model
        self.probabilities = probabilities
        self.forwards = 0
        self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        logits: Tensor = self.model(images.float())  # Some attacks compute in double precision.
        if self.probabilities:
            logits = logits.softmax(1)
        if logits.requires_grad:
            logits.register_hook(self._count_backward)  # type: ignore[no-untyped-call]
        elif torch.is_grad_enabled():
            # The toolbox calls backward even where the logits do not depend on the images.
            logits = logits + 0 * images.flatten(1).sum(1, keepdim=True)
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def _generate(model: _Counting, images: Tensor, labels: Tensor, classes: int, settings: ArtAttack) -> Tensor:
    attack = get_attack_class(settings.name)
    classifier = to_art_classifier(model, tuple(images.shape[1:]), classes, images.device.type)
    accepted = inspect.signature(attack.__init__).parameters
    options = {"verbose": False} | ({} if attack.__name__ in OWN_BATCHES else {"batch_size": len(images)})
    options = {name: value for name, value in options.items() if name in accepted} | settings.parameters
    targeted = accepted["targeted"].default if "targeted" in accepted else False
    aimed = attack.__name__ in AIMED or settings.parameters.get("targeted", targeted)
    y = None
    if aimed:
        y = _encode_one_hot(draw_targets(images, labels, classes, settings.seed), classes)
    elif attack.__name__ in LABELED:
        y = _encode_one_hot(labels, classes)
    pixels = images.detach().cpu().numpy()
    with _seed_globals(zlib.crc32(pixels.tobytes(), settings.seed)):
        made = attack(classifier, **options).generate(x=pixels, y=y)
    if not isinstance(made, np.ndarray) or made.shape != pixels.shape:
        what = getattr(made, "shape", type(made).__name__)
        raise ValueError(f"{settings.name} gives {what} for images {pixels.shape}: only attacks on whole images fit")
    return torch.from_numpy(np.clip(made, 0, 1).astype(np.float32)).to(images.device)


def _encode_one_hot(labels: Tensor, classes: int) -> NDArray[np.float32]:
    """Return one-hot labels, which every attack of the toolbox accepts; some attacks misread indices."""
    encoded: NDArray[np.float32] = nn.functional.one_hot(labels, classes).float().cpu().numpy()
    return encoded


@contextmanager
def _seed_globals(seed: int) -> Iterator[None]:
    """Seed the global generators that the toolbox draws from, and restore their states afterwards."""
    plain, state = random.getstate(), np.random.get_state()  # noqa: NPY002  The toolbox uses the global state.
    try:
        with torch.random.fork_rng():
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(state)  # noqa: NPY002
