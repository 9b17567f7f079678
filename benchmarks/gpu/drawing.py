"""The drawing of tiles on all cores, in processes that load neither PyTorch nor a GPU."""

import os
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from raypipe.data.tissue import LABELS, render_tile

ALONE = 200
"""Number of tiles up to which the start of processes takes longer than the drawing."""


def draw_tiles(first: int, count: int, pixels: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return `count` tiles of each class from the source `first` on, (n, h, w, 3), uint8, in turns, and the classes."""
    wanted = [(label, first + number, pixels) for number in range(count) for label in LABELS]
    if len(wanted) <= ALONE:
        images = list(map(_draw, wanted))
    else:
        with get_context("spawn").Pool(os.cpu_count()) as pool:
            images = pool.map(_draw, wanted, chunksize=8)
    return np.stack(images), np.tile(np.arange(len(LABELS), dtype=np.int64), count)


def _draw(wanted: tuple[str, int, int]) -> NDArray[np.uint8]:
    label, source, pixels = wanted
    return render_tile(label, source, 0, size=pixels, seed=0)
