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
"""The recipe of Nisa, Suciati and Yuniarti (IPTEK 2024) where they state it, and plain settings otherwise."""


def _as_list(value: Any) -> Any:
    if value is None or value == "none":
        return []
    return [value] if isinstance(value, str) else value


class Recipe(Settings):
    """Settings of a fit.

    Parameters
    ----------
    recipe
        ``standard``: the defaults below, which docs/measured.md compares with the paper's recipe. ``paper``: 10 epochs
        of Adam with brightness jitter 0.05 and nothing else (Nisa, Suciati and Yuniarti, IPTEK 2024). Settings given
        beside it override it.
    epochs
        Passes over the training tiles.
    batch_size
        Tiles per step over all workers together.
    optimizer, learning_rate, weight_decay, momentum
        Momentum is SGD's only.
    schedule
        ``cosine`` lowers the learning rate to 0 over the fit (Loshchilov and Hutter, 2016, arXiv:1608.03983).
    warm_up
        Share of the fit's steps, in [0, 1), over which the learning rate first rises linearly.
    clip_norm
        Largest length of the gradient over all weights (Pascanu, Mikolov and Bengio, 2013, arXiv:1211.5063); longer
        ones are shortened. None: no limit.
    precision
        Arithmetic of the passes; parameters stay float32.
    label_smoothing
        Share of each label's weight that is spread evenly over all classes, in [0, 1) (Szegedy et al., 2016,
        arXiv:1512.00567). It applies to the plain cross-entropy, not to the losses of online adversarial training.
    brightness
        Each training tile is multiplied by a factor drawn from [1 - brightness, 1 + brightness].
    augment
        ``flips_and_turns``: one of the eight flips and quarter turns of each tile. ``hed_jitter``: the amounts of the
        stains hematoxylin, eosin and DAB are scaled and shifted at random (Tellez et al., 2018, arXiv:1808.05896).
        One of them, a list of both, or ``none``.
    hed_strength
        Half the range of the stains' random factors, around 1, and shifts, around 0, as optical densities.
    ema
        Decay per step of a moving average of the weights, in [0, 1); the average is what is validated and kept
        (Polyak and Juditsky, 1992). Early steps use the smaller decay (1 + step) / (10 + step). 0: no average.
    validation
        Share of the training tiles, in whole groups, that no fit trains on: validation figures, candidates of a search
        and early stopping use them. At least one group of each class that has two; 0: none.
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
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    brightness: float = Field(0.0, ge=0, lt=1)
    augment: Annotated[tuple[Augmentation, ...], BeforeValidator(_as_list)] = ("flips_and_turns", "hed_jitter")
    hed_strength: float = Field(0.05, gt=0, lt=1)
    ema: float = Field(0.999, ge=0, lt=1)
    validation: float = Field(0.1, ge=0, le=0.5)

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
