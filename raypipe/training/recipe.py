"""The settings of a fit."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from raypipe.base.settings import Settings

Augmentation = Literal["flips_and_turns", "hed_jitter"]

PAPER: Mapping[str, Any] = {
    "epochs": 10,
    "batch_size": 32,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "schedule": "cosine",
    "warm_up": 0.0,
    "clip_norm": None,
    "label_smoothing": 0.0,
    "brightness": 0.05,
    "augment": (),
    "ema": 0.0,
    "validation": 0.0,
}
"""Recipe of Nisa, Suciati and Yuniarti (IPTEK 2024), with plain settings where they state none."""


def _as_list(value: Any) -> Any:
    if value is None or value == "none":
        return []
    return [value] if isinstance(value, str) else value


class Recipe(Settings):
    """Settings of a fit.

    Parameters
    ----------
    recipe
        Set of defaults. ``standard`` has the defaults below, which docs/measured.md compares with the paper's recipe.
        ``paper`` is 10 epochs of Adam with brightness jitter 0.05 and nothing else (Nisa, Suciati and Yuniarti, IPTEK
        2024). Other settings in the experiment override it.
    epochs
        Number of passes over the training tiles.
    batch_size
        Number of tiles per step, over all workers together.
    optimizer, learning_rate, weight_decay, momentum
        Settings of the optimizer. Only SGD uses the momentum.
    schedule
        Schedule of the learning rate. ``cosine`` lowers it to 0 over the fit (Loshchilov and Hutter, 2016,
        arXiv:1608.03983).
    warm_up
        Share of the fit's steps, in [0, 1), over which the learning rate first rises linearly.
    clip_norm
        Largest length of the gradient over all weights (Pascanu, Mikolov and Bengio, 2013, arXiv:1211.5063). Longer
        gradients are shortened. None means no limit.
    precision
        Precision of the passes. Parameters stay float32.
    compile
        True to compile the network with ``torch.compile``, for training and for the attacks within it. It needs a C++
        compiler, takes a minute or more at the beginning, and pays in long fits on GPUs. Results differ by rounding.
    label_smoothing
        Share of each label's weight that is spread evenly over all classes, in [0, 1) (Szegedy et al., 2016,
        arXiv:1512.00567). It applies to the plain cross-entropy, not to the losses of online adversarial training.
    brightness
        Size of the brightness jitter, in [0, 1). Each training tile is multiplied by a factor drawn from
        [1 - brightness, 1 + brightness].
    augment
        Random changes of each training tile. ``flips_and_turns`` picks one of the eight flips and quarter turns.
        ``hed_jitter`` scales and shifts the amounts of the stains hematoxylin, eosin and DAB (Tellez et al., 2018,
        arXiv:1808.05896). The value is one of them, a list of both, or ``none``.
    hed_strength
        Half the range of the stains' random factors, around 1, and shifts, around 0, as optical densities.
    ema
        Decay per step of a moving average of the weights, in [0, 1). The averaged model is validated and kept (Polyak
        and Juditsky, 1992). Early steps use the smaller decay (1 + step) / (10 + step). 0 means no average.
    validation
        Share of the training tiles, in whole groups, that no fit trains on, in [0, 0.5]. Validation figures, candidates
        of a search and early stopping use these tiles. They include at least one group of each class that has two. 0
        means no such tiles.
    validation_interval
        Number of epochs from one validation to the next. The last epoch is always validated. A validation recomputes
        the batch statistics, which takes up to a third of the time of an epoch. Early stopping chooses among the
        validated epochs.
    """

    recipe: Literal["standard", "paper"] = "standard"
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=2)
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    schedule: Literal["constant", "cosine"] = "cosine"
    warm_up: float = Field(0.1, ge=0, lt=1)
    clip_norm: float | None = Field(1.0, gt=0)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    # Left out of content keys at its default, so that models that were trained before this setting existed keep theirs.
    compile: bool = Field(False, exclude_if=lambda compiled: not compiled)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    brightness: float = Field(0.0, ge=0, lt=1)
    augment: Annotated[tuple[Augmentation, ...], BeforeValidator(_as_list)] = ("flips_and_turns", "hed_jitter")
    hed_strength: float = Field(0.05, gt=0, lt=1)
    ema: float = Field(0.999, ge=0, lt=1)
    validation: float = Field(0.1, ge=0, le=0.5)
    # Left out of content keys at 1, so that models that were trained before this setting existed keep their keys.
    validation_interval: int = Field(1, ge=1, exclude_if=lambda epochs: epochs == 1)

    def validates(self, epoch: int) -> bool:
        """Return True if a fit validates an epoch, numbered from 1."""
        return epoch % self.validation_interval == 0 or epoch == self.epochs

    @model_validator(mode="before")
    @classmethod
    def _paper_settings(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("recipe") == "paper":
            return {**PAPER, **values}
        return values

    @field_validator("augment")
    @classmethod
    def _once_each(cls, augment: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
        return tuple(sorted(set(augment)))
