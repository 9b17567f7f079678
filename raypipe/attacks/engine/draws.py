"""Random draws for tiles: what is drawn for one depends on its 8-bit pixels and a key, not on its place in a batch."""

import hashlib

import torch
from torch import Tensor


def seeds(images: Tensor, key: str) -> list[int]:
    """A number from 0 to 2**48 - 1 for each image.

    Parameters
    ----------
    images
        (n, ...) in [0, 1]; their 8-bit pixels decide.
    key
        Another key, another draw; up to 64 bytes.
    """
    pixels = images.detach().mul(255).round().to(torch.uint8).cpu().numpy()
    digests = (hashlib.blake2b(tile.tobytes(), digest_size=6, key=key.encode()).digest() for tile in pixels)
    return [int.from_bytes(digest, "big") for digest in digests]


def generators(images: Tensor, key: str) -> list[torch.Generator]:
    """A generator on the CPU for each image, seeded as `seeds` says.

    Parameters
    ----------
    images, key
        As in `seeds`.
    """
    return [torch.Generator().manual_seed(seed) for seed in seeds(images, key)]
