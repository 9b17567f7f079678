"""The settings of a fit."""

from typing import Literal

from pydantic import Field

from raypipe.settings import Settings


class Recipe(Settings):
    """How a classifier is fitted. The defaults are the paper's where it says, and plain otherwise.

    Parameters
    ----------
    epochs
        Passes over the training tiles.
    batch_size
        Tiles per step over all workers together.
    optimizer, learning_rate, weight_decay, momentum
        Momentum is SGD's only.
    schedule
        ``cosine`` lowers the learning rate to 0 over the fit (Loshchilov and Hutter, 2016, arXiv:1608.03983).
    precision
        Arithmetic of the passes; parameters stay float32.
    brightness
        Each training tile is multiplied by a factor drawn from [1 - brightness, 1 + brightness].
    """

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=2)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    schedule: Literal["constant", "cosine"] = "cosine"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    brightness: float = Field(0.05, ge=0, lt=1)
