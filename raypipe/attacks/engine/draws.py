"""Random draws for tiles, which depend on a tile's 8-bit pixels and a key, not on its position in a batch."""

import hashlib

import torch
from torch import Tensor


def derive_seeds(images: Tensor, key: str) -> list[int]:
    """Return a seed from 0 to 2**48 - 1 for each image.

    Parameters
    ----------
    images
        (n, ...) in [0, 1]. A seed depends on the 8-bit pixels of its image.
    key
        Key of the draw, up to 64 bytes. Another key gives other seeds.
    """
    pixels = images.detach().mul(255).round().to(torch.uint8).cpu().numpy()
    digests = (hashlib.blake2b(tile.tobytes(), digest_size=6, key=key.encode()).digest() for tile in pixels)
    return [int.from_bytes(digest, "big") for digest in digests]


def make_generators(images: Tensor, key: str) -> list[torch.Generator]:
    """Return a generator on the CPU for each image, with a seed from `seeds`.

    Parameters
    ----------
    images, key
        See `seeds`.
    """
    return [torch.Generator().manual_seed(seed) for seed in derive_seeds(images, key)]
