"""Our attacks as classes of the Adversarial Robustness Toolbox (Nicolae et al., 2018, arXiv:1807.01069).

Change one import: those that the toolbox has too take its names and arguments, and take and give NumPy arrays. Any
other attack of ours comes as ``attack_class("its name")``. Importing this module imports the toolbox.
"""

from raypipe.attacks.art.evasion.base import RaypipeAttack, attack_class
from raypipe.attacks.art.evasion.carlini_wagner import CarliniL2Method
from raypipe.attacks.art.evasion.deepfool import DeepFool
from raypipe.attacks.art.evasion.gradient import (
    AutoProjectedGradientDescent,
    FastGradientMethod,
    ProjectedGradientDescent,
)
from raypipe.attacks.art.evasion.saliency_map import SaliencyMapMethod

__all__ = [
    "AutoProjectedGradientDescent",
    "CarliniL2Method",
    "DeepFool",
    "FastGradientMethod",
    "ProjectedGradientDescent",
    "RaypipeAttack",
    "SaliencyMapMethod",
    "attack_class",
]
