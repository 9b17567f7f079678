"""Tiles of synthetic tissue in the five classes of LC25000 (Borkowski et al. 2019, arXiv:1912.12142)."""

from collections.abc import Callable
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raypipe.data.tissue.canvas import Canvas, create_canvas
from raypipe.data.tissue.colon import draw_colon_aca, draw_colon_n
from raypipe.data.tissue.lung import draw_lung_aca, draw_lung_n, draw_lung_scc
from raypipe.data.tissue.stain import Section, photograph

Pixels = NDArray[np.uint8]

_TISSUES: MappingProxyType[str, Callable[[np.random.Generator, Canvas], Section]] = MappingProxyType(
    {
        "colon_aca": draw_colon_aca,
        "colon_n": draw_colon_n,
        "lung_aca": draw_lung_aca,
        "lung_n": draw_lung_n,
        "lung_scc": draw_lung_scc,
    }
)
LABELS = tuple(_TISSUES)

_FINEST = 224
"""Least size of a drawing in pixels. Smaller tiles are drawn at this size and shrunk, so the tissue is the same at
every size."""

_TURN = 25.0


@lru_cache(maxsize=4)
def _draw_source_field(label: str, source: int, pixels: int, seed: int) -> Image.Image:
    rng = np.random.default_rng([seed, LABELS.index(label), source])
    canvas = create_canvas(pixels)
    return Image.fromarray(photograph(rng, canvas, _TISSUES[label](rng, canvas)))


def render_tile(label: str, source: int, sibling: int, *, size: int, seed: int) -> Pixels:
    """Draw one tile.

    Parameters
    ----------
    label
        Member of `LABELS`.
    source
        Index of the piece of tissue, from 0. Each piece has its own stain, focus and degree of atypia.
    sibling
        Index of the rotated (up to 25 degrees) and flipped copy of that piece, from 0, as in LC25000.
    size
        Height and width in pixels, at least 32. The field of view is the same at every size.
    seed
        Index of the synthetic collection, from 0.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)
        RGB pixels. Equal arguments give equal pixels.

    Raises
    ------
    ValueError
        If the label is unknown or the size is below 32.
    """
    if label not in _TISSUES:
        raise ValueError(f"label = {label!r}: expected one of {', '.join(LABELS)}")
    if size < 32:
        raise ValueError(f"size = {size}: expected at least 32 pixels")
    field = _draw_source_field(label, source, max(size, _FINEST), seed)
    # Zeros at the end of an entropy list do not change the stream: + 1 gives sibling 0 another stream than its source.
    rng = np.random.default_rng([seed, LABELS.index(label), source, sibling + 1])
    turned = field.rotate(float(rng.uniform(-_TURN, _TURN)), Image.Resampling.BICUBIC)
    for flip in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM):
        if rng.random() < 0.5:
            turned = turned.transpose(flip)
    margin = (field.width - max(size, _FINEST)) / 2
    box = (margin, margin, field.width - margin, field.height - margin)
    return np.asarray(turned.resize((size, size), Image.Resampling.BOX, box))
