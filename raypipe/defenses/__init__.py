"""Defenses by name. To add one, write a file that exports the class of its settings, and add it to `DEFENSES`.

A preset takes a goal and a budget, and chooses a defense.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from raypipe.base.settings import get_default_name, index_by_name, read_named
from raypipe.defenses.adversarial_training import AdversarialTraining
from raypipe.defenses.base import Defense
from raypipe.defenses.bit_depth_reduction import BitDepthReduction
from raypipe.defenses.ddn_training import DdnTraining
from raypipe.defenses.defense_gan import DefenseGan
from raypipe.defenses.defensive_distillation import DefensiveDistillation
from raypipe.defenses.fast_training import FastTraining
from raypipe.defenses.free_training import FreeTraining
from raypipe.defenses.interval_bound_propagation import IntervalBoundPropagation
from raypipe.defenses.mart import Mart
from raypipe.defenses.pgd_training import PgdTraining
from raypipe.defenses.randomized_smoothing import RandomizedSmoothing
from raypipe.defenses.robust import Robust
from raypipe.defenses.sparsity_denoising import SparsityDenoising
from raypipe.defenses.stain_augmentation import StainAugmentation
from raypipe.defenses.trades import Trades

DEFENSES: dict[str, type[Defense]] = index_by_name(
    get_default_name,
    AdversarialTraining,
    BitDepthReduction,
    DdnTraining,
    DefenseGan,
    DefensiveDistillation,
    FastTraining,
    FreeTraining,
    IntervalBoundPropagation,
    Mart,
    PgdTraining,
    RandomizedSmoothing,
    SparsityDenoising,
    StainAugmentation,
    Trades,
)
"""The settings of each defense, by the default of their ``name``."""

PRESETS: dict[str, type[Robust]] = {get_default_name(Robust): Robust}
"""The settings of each preset, which chooses a defense and its settings, by name."""


def read_defense(value: Any) -> Any:
    """Return the settings that a mapping names; a preset is replaced by what it chooses.

    Raises
    ------
    pydantic.ValidationError
        If the name is unknown, or the settings are wrong.
    """
    settings = read_named(value, "name", {**DEFENSES, **PRESETS})
    return settings.choose() if isinstance(settings, Robust) else settings


DefenseSettings = Annotated[SerializeAsAny[Defense], BeforeValidator(read_defense)]
"""A field of this type takes ``{"name": "adversarial_training", ...}``."""
