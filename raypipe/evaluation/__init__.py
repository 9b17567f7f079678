"""Evaluation of models: every figure is computed from stored predictions, never inside a loop."""
