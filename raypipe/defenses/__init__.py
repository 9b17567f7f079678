"""Defenses by name. To add one: a file with its settings and its functions, and its line here."""

from typing import Annotated

from pydantic import SerializeAsAny

from raypipe.defenses.adversarial_training import AdversarialTraining
from raypipe.defenses.bit_depth_reduction import BitDepthReduction
from raypipe.defenses.defense import NamedDefense
from raypipe.settings import chosen_by

DEFENSES: dict[str, type[NamedDefense]] = {
    "adversarial_training": AdversarialTraining,
    "bit_depth_reduction": BitDepthReduction,
}
DefenseSettings = Annotated[SerializeAsAny[NamedDefense], chosen_by("name", DEFENSES)]
"""A field of this type takes ``{"name": "adversarial_training", ...}``."""
