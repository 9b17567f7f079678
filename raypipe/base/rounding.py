"""Tolerances for radii, whole steps of 8-bit pixels, and the text of a radius."""

import math

FLOAT_NOISE = 1e-6
"""Share of a radius by which a perturbation may exceed it, because 4/255 and sums of squares have no exact float."""
WHOLE = 1e-3
"""Tolerance in steps of 1/255: a radius this close below a whole number counts as whole. 8/255 has no exact float."""


def count_whole_steps(eps: float) -> int:
    """Return the number of steps of 1/255 that fit into a radius, ignoring float noise just below a whole number."""
    return math.floor(eps * 255 + WHOLE)


def write_fraction(value: float) -> str:
    """Return the shorter text of a number: ``8/255`` instead of ``0.03137``, ``0.3`` instead of ``76.5/255``."""
    return min(f"{value:.4g}", f"{255 * value:.4g}/255", key=len)
