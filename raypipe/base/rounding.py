"""The tolerance for comparing a perturbation with a radius."""

FLOAT_NOISE = 1e-6
"""Share of a radius by which a perturbation may exceed it, because 4/255 and sums of squares have no exact float."""
