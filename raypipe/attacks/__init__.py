"""Attacks by name. To add one, write a file with its settings and its function, and add a line to `ATTACKS`.

`raypipe.attacks.engine.generate` runs any attack on 8-bit tiles. `raypipe.attacks.art.evasion` offers the attacks as
classes of the Adversarial Robustness Toolbox.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from raypipe.attacks.apgd import AutoProjectedGradient, auto_projected_gradient
from raypipe.attacks.art.attack import ArtAttack, art_attack
from raypipe.attacks.autoattack import AutoAttack, autoattack
from raypipe.attacks.base import Attack, NamedAttack, NativeAttack, TargetedAttack
from raypipe.attacks.carlini_wagner import CarliniWagnerL2, carlini_wagner_l2
from raypipe.attacks.ddn import DecoupledDirectionNorm, decoupled_direction_norm
from raypipe.attacks.deepfool import DeepFool, deepfool
from raypipe.attacks.fab import FastAdaptiveBoundary, fast_adaptive_boundary
from raypipe.attacks.fgsm import FastGradient, fast_gradient
from raypipe.attacks.minimal_l2 import MinimalL2, minimal_l2
from raypipe.attacks.pgd import ProjectedGradient, projected_gradient
from raypipe.attacks.saliency_map import SaliencyMap, saliency_map
from raypipe.attacks.sigma_zero import SigmaZero, sigma_zero
from raypipe.attacks.sparse_l0 import SparseL0, sparse_l0
from raypipe.attacks.square import SquareAttack, square_attack
from raypipe.base.settings import read_named

__all__ = ["ART", "ATTACKS", "Attack", "AttackSettings", "NamedAttack", "TargetedAttack", "attack_for"]

ATTACKS: dict[str, Attack] = {
    "deepfool": Attack(DeepFool, deepfool),
    "carlini_wagner_l2": Attack(CarliniWagnerL2, carlini_wagner_l2),
    "minimal_l2": Attack(MinimalL2, minimal_l2),
    "saliency_map": Attack(SaliencyMap, saliency_map),
    "sparse_l0": Attack(SparseL0, sparse_l0),
    "sigma_zero": Attack(SigmaZero, sigma_zero),
    "fgsm": Attack(FastGradient, fast_gradient),
    "pgd": Attack(ProjectedGradient, projected_gradient),
    "apgd": Attack(AutoProjectedGradient, auto_projected_gradient),
    "autoattack": Attack(AutoAttack, autoattack),
    "square": Attack(SquareAttack, square_attack),
    "fab": Attack(FastAdaptiveBoundary, fast_adaptive_boundary),
    "ddn": Attack(DecoupledDirectionNorm, decoupled_direction_norm),
}
"""The attacks of ``backend: raypipe``, by the ``name`` of their settings."""

ART = Attack(ArtAttack, art_attack)
"""The one attack of ``backend: art``. Its settings name the attack of the toolbox that it runs."""


def _read_attack(value: Any) -> Any:
    """Return the settings that a mapping describes, by its backend and its name. Return any other value unchanged."""
    if isinstance(value, Mapping) and value.get("backend", "raypipe") != "raypipe":
        return read_named(value, "backend", {"raypipe": NativeAttack, "art": ArtAttack})
    own = {name: attack.settings for name, attack in ATTACKS.items()}
    return read_named(value, "name", own, "; for the toolbox's own attacks say `backend: art`")


AttackSettings = Annotated[SerializeAsAny[NamedAttack], BeforeValidator(_read_attack)]
"""A field of this type takes ``{"name": "deepfool", ...}`` or ``{"backend": "art", "name": "deepfool", ...}``."""


def attack_for(settings: NamedAttack) -> Attack:
    """Return the attack that the settings belong to."""
    return ART if isinstance(settings, ArtAttack) else ATTACKS[settings.name]
