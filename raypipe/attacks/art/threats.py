"""What the attacks of the Adversarial Robustness Toolbox minimise or bound, and what they ask of the model."""

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal

from raypipe.attacks.art.classes import attack_class
from raypipe.attacks.base import AnyNorm, Ball, Knowledge, Norm

THREATS: dict[str, tuple[AnyNorm | Literal["as told"], Knowledge]] = {
    "AutoAttack": ("as told", "white-box"),
    "AutoConjugateGradient": ("as told", "white-box"),
    "AutoProjectedGradientDescent": ("as told", "white-box"),
    "BasicIterativeMethod": ("linf", "white-box"),
    "BoundaryAttack": ("l2", "decision-based"),
    "BrendelBethgeAttack": ("as told", "white-box"),
    "CarliniL0Method": ("l0", "white-box"),
    "CarliniL2Method": ("l2", "white-box"),
    "CarliniLInfMethod": ("linf", "white-box"),
    "CompositeAdversarialAttackPyTorch": ("none", "white-box"),
    "DeepFool": ("l2", "white-box"),
    "ElasticNet": ("l1", "white-box"),
    "FastGradientMethod": ("as told", "white-box"),
    "GRAPHITEWhiteboxPyTorch": ("none", "white-box"),
    "HopSkipJump": ("as told", "decision-based"),
    "MomentumIterativeMethod": ("as told", "white-box"),
    "NewtonFool": ("l2", "white-box"),
    "PixelAttack": ("l0", "score-based"),
    "ProjectedGradientDescent": ("as told", "white-box"),
    "ProjectedGradientDescentNumpy": ("as told", "white-box"),
    "ProjectedGradientDescentPyTorch": ("as told", "white-box"),
    "RescalingAutoConjugateGradient": ("as told", "white-box"),
    "SaliencyMapMethod": ("l0", "white-box"),
    "ShadowAttack": ("none", "white-box"),
    "SignOPTAttack": ("l2", "decision-based"),
    "SimBA": ("l2", "score-based"),
    "SpatialTransformation": ("none", "decision-based"),
    "SquareAttack": ("as told", "score-based"),
    "TargetedUniversalPerturbation": ("as told", "white-box"),
    "ThresholdAttack": ("linf", "score-based"),
    "UniversalPerturbation": ("as told", "white-box"),
    "VirtualAdversarialMethod": ("l2", "score-based"),  # it takes its gradient from differences of predictions
    "Wasserstein": ("none", "white-box"),  # its ball is one of transport, and grows until the model is fooled
    "ZooAttack": ("l2", "score-based"),
}
"""By class: the norm that it minimises or bounds, or that its parameter `norm` says; and what it asks of the model."""
SCORED = frozenset({"simba", "vat"})
"""Attacks that ask for scores alone, by their names as the parameter `attacker` of universal perturbations."""


def ball_of(name: str, parameters: Mapping[str, Any]) -> Ball | None:
    """The ball that an attack keeps to; None: it minimises a norm, or looks at none.

    Parameters
    ----------
    name, parameters
        As in `raypipe.attacks.art.classes.check_parameters`.

    Raises
    ------
    ValueError
        If the ball is one in l1, or the toolbox's class is not known here.
    """
    kind, given = _arguments(name, parameters)
    norm = _norm(kind, given)
    if kind == "ThresholdAttack":
        return None if given["th"] is None else Ball("linf", given["th"] / 255)
    if norm == "none" or "eps" not in given or given.get("minimal"):
        return None
    return Ball(_bounded(name, norm), float(given["eps"]))


def minimised_by(name: str, parameters: Mapping[str, Any]) -> AnyNorm:
    """The norm that an attack without a ball minimises.

    Parameters
    ----------
    name, parameters
        As in `raypipe.attacks.art.classes.check_parameters`.
    """
    return _norm(*_arguments(name, parameters))


def knowledge_of(name: str, parameters: Mapping[str, Any]) -> Knowledge:
    """What an attack asks of the model.

    Parameters
    ----------
    name, parameters
        As in `raypipe.attacks.art.classes.check_parameters`.
    """
    kind, given = _arguments(name, parameters)
    return "score-based" if given.get("attacker") in SCORED else _threat(kind)[1]


def _arguments(name: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class, and what its constructor gets, the toolbox's defaults among it."""
    kind = attack_class(name)
    accepted = inspect.signature(kind.__init__).parameters
    return kind.__name__, {key: parameter.default for key, parameter in accepted.items()} | dict(parameters)


def _threat(kind: str) -> tuple[AnyNorm | Literal["as told"], Knowledge]:
    if kind not in THREATS:
        raise ValueError(f"{kind}: expected an attack whose threat model is known, one of {', '.join(THREATS)}")
    return THREATS[kind]


def _norm(kind: str, given: Mapping[str, Any]) -> AnyNorm:
    norm = _threat(kind)[0]
    if norm != "as told":
        return norm
    told: dict[float, AnyNorm] = {math.inf: "linf", 0: "l0", 1: "l1", 2: "l2"}
    return told[float(given["norm"])]


def _bounded(name: str, norm: AnyNorm) -> Norm:
    if norm not in ("linf", "l2"):
        raise ValueError(f"{name}: norm = {norm[1:]}, expected inf or 2: 8-bit tiles are kept in balls of these alone")
    return norm
