"""Measure how far each severity of each corruption moves real tiles, and print the table of docs/corruptions.md.

    python -m benchmarks.corruption_severities LC25000_FOLDER [--groups CSV] [--tiles N]

For each severity: the mean absolute change of a value, in 1/255, and the mean structural similarity of the gray tiles
(Wang et al., 2004, IEEE Transactions on Image Processing 13(4), 600-612: a Gaussian window of 11 pixels and deviation
1.5). The command fails if a severity moves tiles less than the one before it.
"""

import argparse

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from raypipe.corruptions import CORRUPTIONS
from raypipe.corruptions.pixels import corrupt_pixels
from raypipe.data.audit.audit import open_data
from raypipe.data.reading.images import decode
from raypipe.data.source import shuffle_by_hash

GRAY = (0.299, 0.587, 0.114)
WINDOW, DEVIATION = 11, 1.5
STABLE = (0.01**2, 0.03**2)
"""The constants that keep both quotients of the similarity finite, for values in [0, 1]."""
SAME = 0.005
"""Rise of the similarity that is none: changes of color alone hardly move the gray tiles."""
CPU = torch.device("cpu")


def main() -> None:
    """Read tiles, one of each group, and print a row for each corruption."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", help="folder with one folder for each class")
    parser.add_argument("--groups", help="CSV with the columns filename, label and group")
    parser.add_argument("--tiles", type=int, default=200, help="number of tiles, of as many groups")
    parser.add_argument("--size", type=int, default=224, help="height and width of a tile in pixels")
    chosen = parser.parse_args()
    images = read_tiles(chosen.data, chosen.groups, chosen.tiles, chosen.size)
    print("| | change 1 | 2 | 3 | 4 | 5 | similarity 1 | 2 | 3 | 4 | 5 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    wrong = []
    for name in CORRUPTIONS:
        changes, similarities = measure(images, name)
        figures = [*(f"{change:.1f}" for change in changes), *(f"{value:.2f}" for value in similarities)]
        print(f"| `{name}` | {' | '.join(figures)} |", flush=True)
        if changes != sorted(changes) or np.diff(similarities).max() > SAME:
            wrong.append(name)
    if wrong:
        raise SystemExit(f"{', '.join(wrong)}: a severity moves tiles less than the one before it")


def read_tiles(data: str, groups: str | None, count: int, size: int) -> NDArray[np.uint8]:
    """Return tiles (n, size, size, 3) of different groups, drawn by the hash of their paths."""
    source = open_data(data, groups)
    by_path = {ref.path: ref for ref in source.list() if ref.problem is None}
    drawn: dict[str, str] = {}
    for path in shuffle_by_hash(by_path, seed=0):
        drawn.setdefault(f"{by_path[path].label_name}/{by_path[path].group or path}", path)
    return np.stack([decode(source.read(path), size) for path in list(drawn.values())[:count]])


def measure(images: NDArray[np.uint8], name: str) -> tuple[list[float], list[float]]:
    """Return the mean absolute change, in 1/255, and the mean structural similarity, by severity."""
    changes, similarities = [], []
    for level in CORRUPTIONS[name].levels:
        changed = np.concatenate([corrupt_pixels(part, name, level, 0, CPU) for part in np.array_split(images, 20)])
        changes.append(float(np.abs(changed.astype(np.int16) - images).mean()))
        similarities.append(float(similarity(images, changed).mean()))
    return changes, similarities


def similarity(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> Tensor:
    """Return the structural similarity of the gray versions of tiles (n, h, w, 3), (n,) at most 1."""
    weights = torch.tensor(GRAY)
    one, other = (torch.from_numpy(each).float().div(255) @ weights for each in (images, others))
    axis = torch.arange(WINDOW) - WINDOW // 2
    bell = (-axis.square() / (2 * DEVIATION**2)).exp()
    bell = bell / bell.sum()

    def smooth(values: Tensor) -> Tensor:
        rows = F.conv2d(values[:, None], bell.view(1, 1, -1, 1))
        return F.conv2d(rows, bell.view(1, 1, 1, -1))[:, 0]

    mean, second = smooth(one), smooth(other)
    variance, spread = smooth(one**2) - mean**2, smooth(other**2) - second**2
    shared = smooth(one * other) - mean * second
    light = (2 * mean * second + STABLE[0]) / (mean**2 + second**2 + STABLE[0])
    structure = (2 * shared + STABLE[1]) / (variance + spread + STABLE[1])
    return (light * structure).mean((1, 2))


if __name__ == "__main__":
    main()
