"""The tolerance for comparing a perturbation with a radius, and the text of a radius."""

FLOAT_NOISE = 1e-6
"""Share of a radius by which a perturbation may exceed it, because 4/255 and sums of squares have no exact float."""


def write_fraction(value: float) -> str:
    """Return the shorter text of a number: ``8/255`` instead of ``0.03137``, ``0.3`` instead of ``76.5/255``."""
    return min(f"{value:.4g}", f"{255 * value:.4g}/255", key=len)
