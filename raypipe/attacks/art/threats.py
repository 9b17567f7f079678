"""Norms that attacks of the Adversarial Robustness Toolbox minimize or bound, and knowledge of the model they need."""

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal

from raypipe.attacks.art.classes import get_attack_class
from raypipe.base.norms import AnyNorm, Ball, Norm
from raypipe.base.threat import Knowledge

THREATS: dict[str, tuple[AnyNorm | Literal["from parameter"], Knowledge]] = {
    "AutoAttack": ("from parameter", "white-box"),
    "AutoConjugateGradient": ("from parameter", "white-box"),
    "AutoProjectedGradientDescent": ("from parameter", "white-box"),
    "BasicIterativeMethod": ("linf", "white-box"),
    "BoundaryAttack": ("l2", "decision-based"),
    "BrendelBethgeAttack": ("from parameter", "white-box"),
    "CarliniL0Method": ("l0", "white-box"),
    "CarliniL2Method": ("l2", "white-box"),
    "CarliniLInfMethod": ("linf", "white-box"),
    "CompositeAdversarialAttackPyTorch": ("none", "white-box"),
    "DeepFool": ("l2", "white-box"),
    "ElasticNet": ("l1", "white-box"),
    "FastGradientMethod": ("from parameter", "white-box"),
    "GRAPHITEWhiteboxPyTorch": ("none", "white-box"),
    "HopSkipJump": ("from parameter", "decision-based"),
    "MomentumIterativeMethod": ("from parameter", "white-box"),
    "NewtonFool": ("l2", "white-box"),
    "PixelAttack": ("l0", "score-based"),
    "ProjectedGradientDescent": ("from parameter", "white-box"),
    "ProjectedGradientDescentNumpy": ("from parameter", "white-box"),
    "ProjectedGradientDescentPyTorch": ("from parameter", "white-box"),
    "RescalingAutoConjugateGradient": ("from parameter", "white-box"),
    "SaliencyMapMethod": ("l0", "white-box"),
    "ShadowAttack": ("none", "white-box"),
    "SignOPTAttack": ("l2", "decision-based"),
    "SimBA": ("l2", "score-based"),
    "SpatialTransformation": ("none", "decision-based"),
    "SquareAttack": ("from parameter", "score-based"),
    "TargetedUniversalPerturbation": ("from parameter", "white-box"),
    "ThresholdAttack": ("linf", "score-based"),
    "UniversalPerturbation": ("from parameter", "white-box"),
    "VirtualAdversarialMethod": ("l2", "score-based"),  # It computes its gradient from differences of predictions.
    "Wasserstein": ("none", "white-box"),  # Its ball is one of transport, and grows until the model is fooled.
    "ZooAttack": ("l2", "score-based"),
}
"""Norm that each class minimizes or bounds, and the knowledge of the model that it needs. With ``from parameter``, the
class's parameter `norm` sets the norm."""
SCORED = frozenset({"simba", "vat"})
"""Attacks that need only scores, by their values of the parameter `attacker` of universal perturbations."""


def get_ball(name: str, parameters: Mapping[str, Any]) -> Ball | None:
    """Return the ball that an attack keeps to, or None if it minimizes a norm or uses no norm.

    Parameters
    ----------
    name, parameters
        See `raypipe.attacks.art.classes.check_parameters`.

    Raises
    ------
    ValueError
        If the ball is an l1 ball, or if `THREATS` does not list the toolbox's class.
    """
    kind, arguments = _read_arguments(name, parameters)
    norm = _read_norm(kind, arguments)
    if kind == "ThresholdAttack":
        return None if arguments["th"] is None else Ball("linf", arguments["th"] / 255)
    if norm == "none" or "eps" not in arguments or arguments.get("minimal"):
        return None
    return Ball(_require_bound(name, norm), float(arguments["eps"]))


def get_minimized_norm(name: str, parameters: Mapping[str, Any]) -> AnyNorm:
    """Return the norm that an attack without a ball minimizes.

    Parameters
    ----------
    name, parameters
        See `raypipe.attacks.art.classes.check_parameters`.
    """
    return _read_norm(*_read_arguments(name, parameters))


def get_knowledge(name: str, parameters: Mapping[str, Any]) -> Knowledge:
    """Return the knowledge of the model that an attack needs.

    Parameters
    ----------
    name, parameters
        See `raypipe.attacks.art.classes.check_parameters`.
    """
    kind, arguments = _read_arguments(name, parameters)
    return "score-based" if arguments.get("attacker") in SCORED else _find_threat(kind)[1]


def _read_arguments(name: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of the class and all arguments of its constructor, including the toolbox's defaults."""
    kind = get_attack_class(name)
    accepted = inspect.signature(kind.__init__).parameters
    return kind.__name__, {key: parameter.default for key, parameter in accepted.items()} | dict(parameters)


def _find_threat(kind: str) -> tuple[AnyNorm | Literal["from parameter"], Knowledge]:
    if kind not in THREATS:
        raise ValueError(f"{kind}: expected an attack whose threat model is known, one of {', '.join(THREATS)}")
    return THREATS[kind]


def _read_norm(kind: str, arguments: Mapping[str, Any]) -> AnyNorm:
    norm = _find_threat(kind)[0]
    if norm != "from parameter":
        return norm
    by_order: dict[float, AnyNorm] = {math.inf: "linf", 0: "l0", 1: "l1", 2: "l2"}
    return by_order[float(arguments["norm"])]


def _require_bound(name: str, norm: AnyNorm) -> Norm:
    if norm not in ("linf", "l2"):
        raise ValueError(f"{name}: norm = {norm[1:]}, expected inf or 2: 8-bit tiles are kept in balls of these alone")
    return norm
