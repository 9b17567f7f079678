"""Images in memory, in every layout and type that users have them in."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from raypipe.data.arrays import Images, open_arrays, read_images

ALL = np.arange(256, dtype=np.uint8)
TILES = np.resize(ALL, (2, 8, 10, 3))
TILES[1] = TILES[1][::-1]


def first(images: NDArray[Any]) -> NDArray[Any]:
    return images.transpose(0, 3, 1, 2)


MEAN, DEVIATION = 0.485, 0.229

FORMS: dict[str, Callable[[NDArray[Any]], Images]] = {
    "uint8": lambda images: images,
    "uint8, colors first": first,
    "float32": lambda images: images.astype(np.float32) / 255,
    "float64, colors first": lambda images: first(images) / 255,
    "half precision": lambda images: (images / 255).astype(np.float16),
    "tensor as of ToTensor": lambda images: torch.from_numpy(first(images).copy()).float().div(255),
    "tensor of uint8": torch.from_numpy,
    "tensor with gradients": lambda images: torch.tensor(first(images) / 255, requires_grad=True),
    "normalization undone": lambda images: (
        (images.astype(np.float32) / 255 - MEAN) / DEVIATION * DEVIATION + MEAN
    ).clip(0, 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_common_form_gives_the_same_tiles(form: str) -> None:
    read = read_images(FORMS[form](TILES))
    assert read.dtype == np.uint8
    assert (read == TILES).all()
    assert read.flags.c_contiguous


def test_of_images_of_three_pixels_the_type_says_where_the_colors_are() -> None:
    tiny = np.resize(ALL, (1, 3, 4, 3))
    assert (read_images(tiny) == tiny).all()
    assert (read_images(torch.from_numpy(first(tiny / 255).copy())) == tiny).all()


def test_tiles_that_are_right_already_are_not_copied() -> None:
    assert read_images(TILES) is TILES


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([TILES[0]], r"a list: expected a NumPy array or a tensor.*numpy\.stack"),
        (TILES[0], r"uint8 \(8, 10, 3\): expected"),
        (TILES[:0], "n >= 1"),
        (TILES[..., :1], r"\(2, 8, 10, 1\): expected"),
        (TILES.astype(np.int64), "int64"),
        (TILES.astype(np.float32), r"float32 from 0 to 255: expected floats in \[0, 1\]"),
        ((TILES / 255 - MEAN) / DEVIATION, r"from -2\.118 to 2\.249: .*not normalized"),
        (np.full((1, 4, 4, 3), np.nan), "from nan to nan"),
        (np.random.default_rng(0).random((1, 4, 4, 3)), r"levels from those of 8-bit images.*round\(\) / 255"),
        (torch.full((1, 3, 4, 4), 0.3).bfloat16(), "levels from those of 8-bit images"),
    ],
)
def test_what_is_no_eight_bit_image_is_refused(images: Images, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_images(images)


def test_labels_may_be_a_tensor_or_a_list() -> None:
    for labels in (torch.tensor([1, 0]), [1, 0], np.array([1, 0])):
        assert open_arrays(TILES, labels).truth.tolist() == [1, 0]
