"""Sanity checks: they show if the evaluation of a model can be trusted."""
