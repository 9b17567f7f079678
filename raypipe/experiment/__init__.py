"""Experiment files, from YAML to a validated record."""
