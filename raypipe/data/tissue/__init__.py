"""Synthetic H&E tiles in the five LC25000 classes, for trials and tests without a download."""

from raypipe.data.tissue.tiles import LABELS, render_tile

__all__ = ["LABELS", "render_tile"]
