"""Fitting a classifier to labelled tiles, in plain PyTorch: what it is distributed over is the stages' business."""
