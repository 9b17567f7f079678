"""Attacks by name. To add one, write a file that exports an `ATTACK`, and add it to `ATTACKS`.

`raypipe.attacks.engine.generate` runs any attack on 8-bit tiles. `raypipe.attacks.art.evasion` offers the attacks as
classes of the Adversarial Robustness Toolbox.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from raypipe.attacks import (
    adversarial_patch,
    apgd,
    autoattack,
    carlini_wagner,
    cgba,
    ddn,
    deepfool,
    fab,
    fgsm,
    minimal_l2,
    pgd,
    rays,
    saliency_map,
    sigma_zero,
    sparse_l0,
    square,
    stain,
)
from raypipe.attacks.art.backend import ArtAttack, art_attack
from raypipe.attacks.base import Attack, NamedAttack, NativeAttack
from raypipe.base.settings import index_by_name, read_named

ATTACKS: dict[str, Attack] = index_by_name(
    lambda attack: attack.name,
    deepfool.ATTACK,
    carlini_wagner.ATTACK,
    minimal_l2.ATTACK,
    saliency_map.ATTACK,
    sparse_l0.ATTACK,
    sigma_zero.ATTACK,
    fgsm.ATTACK,
    pgd.ATTACK,
    apgd.ATTACK,
    autoattack.ATTACK,
    square.ATTACK,
    fab.ATTACK,
    ddn.ATTACK,
    rays.ATTACK,
    cgba.ATTACK,
    adversarial_patch.ATTACK,
    stain.ATTACK,
)
"""The attacks of ``backend: raypipe``, by the default ``name`` of their settings."""

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


def get_attack(settings: NamedAttack) -> Attack:
    """Return the attack that the settings belong to."""
    return ART if isinstance(settings, ArtAttack) else ATTACKS[settings.name]
