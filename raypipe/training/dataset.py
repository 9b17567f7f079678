"""A PyTorch dataset of encoded tiles, and batches of them on a device."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from raypipe.data.reading.png import decode_png


class TileDataset(Dataset[tuple[Tensor, int]]):
    """Losslessly encoded tiles in memory, which are decoded when they are read.

    Parameters
    ----------
    images
        Encoded images.
    labels
        Labels of the images.
    """

    def __init__(self, images: Sequence[bytes], labels: Sequence[int]) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = decode_png(self.images[index])
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), self.labels[index]


def to_images(pixels: Tensor, device: torch.device) -> Tensor:
    """Return images on a device, (n, 3, h, w), float32 in [0, 1], from 8-bit pixels of that shape."""
    return pixels.to(device, non_blocking=True).float().div_(255)


def iterate_batches(
    dataset: TileDataset, positions: Sequence[int], batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images (n, 3, h, w) in [0, 1] and labels (n,) of the chosen tiles, in their order, on a device."""
    for begin in range(0, len(positions), batch_size):
        tiles = [dataset[index] for index in positions[begin : begin + batch_size]]
        images = to_images(torch.stack([pixels for pixels, _ in tiles]), device)
        yield images, torch.tensor([label for _, label in tiles], device=device)
