"""Defenses by name. To add one: a file with its settings and its functions, and its line here."""

from typing import Annotated

from pydantic import SerializeAsAny

from raypipe.defenses.adversarial_training import AdversarialTraining
from raypipe.defenses.bit_depth_reduction import BitDepthReduction
from raypipe.defenses.ddn_training import DdnTraining
from raypipe.defenses.defense import NamedDefense
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
from raypipe.settings import chosen_by

DEFENSES: dict[str, type[NamedDefense]] = {
    "adversarial_training": AdversarialTraining,
    "bit_depth_reduction": BitDepthReduction,
    "ddn_training": DdnTraining,
    "defense_gan": DefenseGan,
    "defensive_distillation": DefensiveDistillation,
    "fast_training": FastTraining,
    "free_training": FreeTraining,
    "interval_bound_propagation": IntervalBoundPropagation,
    "mart": Mart,
    "pgd_training": PgdTraining,
    "randomized_smoothing": RandomizedSmoothing,
    "sparsity_denoising": SparsityDenoising,
    "trades": Trades,
}
DefenseSettings = Annotated[SerializeAsAny[NamedDefense], chosen_by("name", DEFENSES)]
"""A field of this type takes ``{"name": "adversarial_training", ...}``."""
