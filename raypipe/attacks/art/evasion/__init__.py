"""raypipe's attacks as classes of the Adversarial Robustness Toolbox (Nicolae et al., 2018, arXiv:1807.01069).

To use them instead of the toolbox's attacks, change one import. Attacks that the toolbox also has use its names and
arguments, and take and return NumPy arrays. ``get_attack_class("its name")`` returns the class of any other raypipe
attack. Importing this module imports the toolbox.
"""

from raypipe.attacks.art.evasion.base import RaypipeAttack, get_attack_class
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
    "get_attack_class",
]
