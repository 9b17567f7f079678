"""Defenses by name. To add one, write a file that exports the class of its settings, and add it to `DEFENSES`."""

from typing import Annotated

from pydantic import SerializeAsAny

from raypipe.base.settings import choose_by, default_name, index_by_name
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
from raypipe.defenses.sparsity_denoising import SparsityDenoising
from raypipe.defenses.trades import Trades

DEFENSES: dict[str, type[Defense]] = index_by_name(
    default_name,
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
    Trades,
)
"""The settings of each defense, by the default of their ``name``."""

DefenseSettings = Annotated[SerializeAsAny[Defense], choose_by("name", DEFENSES)]
"""A field of this type takes ``{"name": "adversarial_training", ...}``."""
