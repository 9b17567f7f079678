"""Sanity checks: whether the evaluation of a model can be believed."""
