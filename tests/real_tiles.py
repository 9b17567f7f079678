"""Real tiles, which the project must not contain: the tests that need them are skipped without a folder of them."""

import os
from pathlib import Path

import pytest

REAL_TILES = Path(os.environ.get("RAYPIPE_REAL_TILES", "no folder"))
"""Folder with LC25000 in ``lc25000``, beside it ``groups.csv`` with source tiles, and EBHI-Seg in ``ebhi_seg``."""

needs_real_tiles = pytest.mark.skipif(
    not REAL_TILES.is_dir(), reason="RAYPIPE_REAL_TILES names no folder of real tiles (CONTRIBUTING.md)"
)
