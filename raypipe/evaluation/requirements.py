"""Requirements on a model's accuracy, as ``raypipe evaluate --fail-under`` takes them."""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple, cast, get_args

from raypipe.base.norms import Norm, require_scaled
from raypipe.base.rounding import FLOAT_NOISE
from raypipe.evaluation.settings import Evaluation

CLEAN, ROBUST, WORST = "clean", "robust", "worst"
_TEXT = re.compile(r"(?P<name>[a-z]+)=(?P<least>[^@]+)(?:@(?P<norm>[^:]+):(?P<eps>.+))?\Z")


class Requirement(NamedTuple):
    """A smallest accuracy that a model must have.

    Parameters
    ----------
    text
        The requirement as the user wrote it: ``robust=0.4@linf:4/255``.
    name
        ``clean`` for accuracy on unchanged tiles, ``robust`` for the worst case over all attacks within a ball, and
        ``worst`` for the worst case that the summary shows.
    least
        Smallest accuracy, from 0 to 1.
    norm, eps
        Ball of ``robust``, with pixels in [0, 1]; None for the others.
    """

    text: str
    name: str
    least: float
    norm: Norm | None = None
    eps: float | None = None


def read_requirement(text: str) -> Requirement:
    """Return the requirement of a text such as ``robust=0.4@linf:4/255``, ``clean=0.8`` or ``worst=0.3``.

    Raises
    ------
    ValueError
        If it is none. The message names the wrong part.
    """
    found = _TEXT.match(text)
    if found is None or found["name"] not in (CLEAN, ROBUST, WORST):
        raise ValueError(f"{text!r}: expected robust=SHARE@NORM:EPS, clean=SHARE or worst=SHARE")
    least = _read_number(text, "the accuracy", found["least"])
    if not 0 <= least <= 1:
        raise ValueError(f"{text!r}: the accuracy is {found['least']}, expected a share from 0 to 1, such as 0.4")
    if (found["name"] == ROBUST) != (found["norm"] is not None):
        expected = "a ball, as in robust=0.4@linf:4/255" if found["name"] == ROBUST else f"{found['name']}=SHARE alone"
        raise ValueError(f"{text!r}: expected {expected}")
    if found["norm"] is None:
        return Requirement(text, found["name"], least)
    if found["norm"] not in get_args(Norm):
        raise ValueError(f"{text!r}: the norm is {found['norm']}, expected {' or '.join(get_args(Norm))}")
    norm = cast(Norm, found["norm"])
    eps = _read_number(text, "the radius", found["eps"])
    if eps <= 0:
        raise ValueError(f"{text!r}: the radius is {found['eps']}, expected more than 0")
    try:
        require_scaled(eps, norm)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error
    return Requirement(text, ROBUST, least, norm, eps)


def add_radii(settings: Evaluation, requirements: Iterable[Requirement]) -> Evaluation:
    """Return the settings of an evaluation that also measures the worst case in every required ball."""
    curves = {norm: list(radii) for norm, radii in settings.curves.items()}
    for requirement in requirements:
        if requirement.norm is not None and requirement.eps is not None:
            radii = curves.setdefault(requirement.norm, [])
            if not any(math.isclose(requirement.eps, eps, rel_tol=FLOAT_NOISE) for eps in radii):
                radii.append(requirement.eps)
    return settings.model_copy(update={"curves": {norm: tuple(sorted(radii)) for norm, radii in curves.items()}})


def _read_number(text: str, part: str, number: str) -> float:
    numerator, slash, denominator = number.partition("/")
    try:
        value = float(numerator) / float(denominator) if slash else float(number)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{text!r}: {part} is {number!r}, expected a number, such as 0.4 or 4/255") from error
    if not math.isfinite(value):
        raise ValueError(f"{text!r}: {part} is {number!r}, expected a finite number")
    return value
