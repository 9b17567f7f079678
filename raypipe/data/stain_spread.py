"""Spread of the stains over the source tiles of a data set: the ranges that the stain attack searches.

A tile stained by another laboratory has other amounts of each stain: ``factor * amount + shift``. Two quantiles of a
tile's amounts, compared with those of a usual tile of its class, give both numbers. Differences between tissues that
the class does not explain count as stain too, so the ranges are rather wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from raypipe.data.reading.images import UnreadableImage, decode
from raypipe.data.source import Source
from raypipe.data.stains import Basis, find_basis, separate_stains

SIZE = 128
"""Height and width in pixels at which tiles are measured."""
QUANTILES = (0.05, 0.95)
"""Quantiles of the amounts of a stain over the pixels of a tile. Rarer amounts come from dust, folds and holes."""
LEAST_GROUPS = 20
"""Smallest number of source tiles whose quantiles mean anything."""


@dataclass(frozen=True)
class StainSpread:
    """Ranges of the stains over source tiles.

    Parameters
    ----------
    tiles, groups
        Number of measured tiles, and of their groups (source tiles, cases or patients).
    rejected
        Reason for each file that could not be read, by path.
    share
        Share of the groups that each range holds.
    hematoxylin_factor, eosin_factor, hematoxylin_shift, eosin_shift
        Ranges of the factor and the shift of each stain, as (lowest, highest).
    """

    tiles: int
    groups: int
    rejected: dict[str, str]
    share: float
    hematoxylin_factor: tuple[float, float]
    eosin_factor: tuple[float, float]
    hematoxylin_shift: tuple[float, float]
    eosin_shift: tuple[float, float]


def measure_stain_spread(source: Source, basis: Basis = "hed", share: float = 0.9) -> StainSpread:
    """Measure the spread of stains over the source tiles of a data set.

    Tiles of one group are averaged first. A tile without a known group is its own group.

    Parameters
    ----------
    source
        The data set, with groups.
    basis
        Colors of the stains.
    share
        Share of the groups that each range holds, in (0, 1); the rest is cut off at both ends.

    Raises
    ------
    ValueError
        If there are fewer than `LEAST_GROUPS` groups.
    """
    marks, labels, groups, rejected = [], [], [], {}
    for ref in source.list():
        if ref.problem is not None:
            rejected[ref.path] = ref.problem
            continue
        try:
            pixels = decode(source.read(ref.path), SIZE)
        except (UnreadableImage, OSError) as error:
            rejected[ref.path] = str(error) or type(error).__name__
            continue
        marks.append(measure_amounts(pixels, basis))
        labels.append(str(ref.label_name))
        groups.append(f"{ref.label_name}/{ref.group or ref.path}")
    names, places = np.unique(groups, return_inverse=True)
    if len(names) < LEAST_GROUPS:
        raise ValueError(f"{len(names)} source tiles: expected at least {LEAST_GROUPS}, to take quantiles of them")
    sums = np.zeros((len(names), 2, 2))
    np.add.at(sums, places, np.stack(marks))
    means = sums / np.bincount(places)[:, None, None]
    first = np.unique(places, return_index=True)[1]
    factors, shifts = compare_stains(means, [labels[row] for row in first])
    ends = [(1 - share) / 2, (1 + share) / 2]
    spans = [tuple(np.quantile(numbers[:, stain], ends).tolist()) for numbers in (factors, shifts) for stain in (0, 1)]
    return StainSpread(len(marks), len(names), rejected, share, *spans)


def measure_amounts(pixels: NDArray[np.uint8], basis: Basis) -> NDArray[np.float64]:
    """Return the amounts of hematoxylin and eosin (rows) at both `QUANTILES` of a tile's pixels (h, w, 3), (2, 2)."""
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    amounts = separate_stains(image, find_basis(image, basis))[0, :2].flatten(1).double().numpy()
    marks: NDArray[np.float64] = np.quantile(amounts, QUANTILES, axis=1).T
    return marks


def compare_stains(
    amounts: NDArray[np.float64], labels: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the factors and the shifts, (n, 2) each, that turn the usual stains of a class into those of each tile.

    Parameters
    ----------
    amounts
        (n, 2, 2) amounts of hematoxylin and eosin at two quantiles: see `measure_amounts`.
    labels
        (n,) classes. The usual stains of a class are the medians over its tiles.
    """
    factors, shifts = np.empty(amounts.shape[:2]), np.empty(amounts.shape[:2])
    for label in set(labels):
        rows = np.array([each == label for each in labels])
        own = amounts[rows]
        low, width = np.median(own[:, :, 0], axis=0), np.median(own[:, :, 1] - own[:, :, 0], axis=0)
        factors[rows] = (own[:, :, 1] - own[:, :, 0]) / width
        shifts[rows] = own[:, :, 0] - factors[rows] * low
    return factors, shifts
