"""A trial of how a finished model treats its images: its own normalization and resizing, and the one that it misses."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.attacks.engine.victim import freeze
from raypipe.base.errors import notify
from raypipe.data.subset import choose_subset
from raypipe.data.tiles import decode_images, make_tiles
from raypipe.execution.adapt_network import find_device
from raypipe.execution.tile_set import SEED, TileSet
from raypipe.models.backbones.base import Channels
from raypipe.models.classifier import IMAGENET_NORMALIZATION, Classifier
from raypipe.models.finished_model import FinishedModel, Program
from raypipe.models.foreign.black_box import may_refuse
from raypipe.models.foreign.normalized import Normalized
from raypipe.models.state_files import find_normalizations

MOST_TILES = 48
"""Number of tiles on which normalizations are compared."""
CANDIDATES: tuple[tuple[Channels, Channels], ...] = (
    IMAGENET_NORMALIZATION,
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
)
"""Normalizations that models are often trained with: ImageNet's, [-1, 1], and values from 0 to 255."""
LEVEL = 0.01
"""Largest p value at which another normalization is reported, over all candidates together."""
BLOCKS, SAME = 8, 0.02
"""Number of blocks along the side of a trial image, and largest difference of the logits that counts as none, as a
share of their range."""


def report_preprocessing(model: FinishedModel, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Try a model on tiles, and say by a `raypipe.base.errors.Notice` what it does with images before its network.

    Classifiers of raypipe are left out, because their preprocessing is known. The model is not changed.

    Parameters
    ----------
    model
        Model, as `raypipe.execution.adapt_network.use_adapted` returns it.
    images, labels
        (n, h, w, 3) uint8 tiles, and (n,) their true classes. Without tiles nothing is tried.
    """
    if isinstance(model.network, Classifier) or not len(images):  # a file that could not be read gives no tile
        return
    tensor = torch.from_numpy(images[:MOST_TILES]).permute(0, 3, 1, 2).float() / 255
    found = find_inside_normalization(model.network)
    if found is not None:
        mean, std = found
        notify(f"the model normalizes its images itself (mean {_write(mean)}, standard deviation {_write(std)})")
    with freeze(model.network), torch.no_grad():
        if (size := find_resizing(model.network, tensor[:1].shape[-1])) is not None:
            into = f"to {size} x {size} pixels " if size else ""
            notify(f"the model resizes its images {into}itself: attacks change the tiles before that")
        if found is None:
            _compare_normalizations(model.network, tensor, labels[:MOST_TILES])


def choose_probe_tiles(tiles: TileSet) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return a few tiles of all classes with their labels, (n, h, w, 3) uint8 and (n,), n >= 0."""
    source, items = tiles.listing.source, [item for item in tiles.listing.items if item.split is not None]
    truth = [source.labels.index(str(item.ref.label_name)) for item in items]
    groups = [item.ref.group or item.ref.path for item in items]
    chosen = choose_subset(truth, groups, min(MOST_TILES, len(items)), SEED) if items else []
    table, _ = make_tiles(source, [items[place] for place in chosen], tiles.size, bit_depth=tiles.bit_depth)
    if not table.num_rows:
        return np.empty((0, 1, 1, 3), np.uint8), np.empty(0, np.int64)
    return decode_images(table), table["label"].to_numpy().astype(np.int64)


def find_inside_normalization(network: nn.Module) -> tuple[Channels, Channels] | None:
    """Return the mean and the standard deviation that a network holds as tensors, or None."""
    inner = network
    while isinstance(inner, Program) or (not isinstance(inner, Normalized) and len(list(inner.children())) == 1):
        if set(find_normalizations(inner.state_dict())):
            break
        inner = inner.graph if isinstance(inner, Program) else next(iter(inner.children()))
    found = set(find_normalizations(inner.state_dict()))
    return found.pop() if len(found) == 1 else None


def find_resizing(network: nn.Module, size: int) -> int | None:
    """Return the size that a network resizes its images to, 0 if it is not known, and None if it does not resize.

    The first convolution shows the size. A program has none that can be watched. Then its logits on images of blocks
    and on the same images at twice the size are compared, unless it does not see where a pixel is, or would not survive
    such a trial (`raypipe.models.foreign.black_box.may_refuse`).

    Parameters
    ----------
    network
        Network from images (n, 3, h, w) to logits.
    size
        Height and width of the tiles in pixels.
    """
    generator = torch.Generator().manual_seed(0)
    blocks = torch.rand(4, 3, BLOCKS, BLOCKS, generator=generator)
    images = F.interpolate(blocks, (size, size), mode="nearest")
    seen: list[int] = []
    layers = [layer for layer in network.modules() if type(layer) is nn.Conv2d]
    hooks = [layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-1])) for layer in layers]
    try:
        logits = _compute_logits(network, images)
    finally:
        for hook in hooks:
            hook.remove()
    if seen:
        return seen[0] if abs(seen[0] - size) > size // 8 else None  # padding and cropping change a little
    if not may_refuse(network):
        return None
    order = torch.randperm(size * size, generator=generator)
    scattered = _compute_logits(network, images.flatten(2)[..., order].view_as(images))
    try:
        twice = _compute_logits(network, F.interpolate(blocks, (2 * size, 2 * size), mode="nearest"))
    except Exception:  # noqa: BLE001  the network is foreign code, and refuses other sizes in its own way
        return None
    spread = float(np.ptp(logits, axis=0).max())
    sees_places = float(np.abs(scattered - logits).max()) > SAME * spread
    return 0 if sees_places and float(np.abs(twice - logits).max()) <= SAME * spread else None


def _compare_normalizations(network: nn.Module, images: Tensor, labels: NDArray[np.int64]) -> None:
    """Say if a network is right on many more tiles behind a usual normalization."""
    if len(images) < 2:
        return
    right = _compute_logits(network, images).argmax(1) == labels
    best, gain = None, 0
    for mean, std in CANDIDATES:
        other = _compute_logits(Normalized(network, mean, std).to(find_device(network)), images).argmax(1) == labels
        better, worse = int((other & ~right).sum()), int((right & ~other).sum())
        p_value = binomtest(better, better + worse, alternative="greater").pvalue if better else 1.0
        if p_value * len(CANDIDATES) <= LEVEL and better - worse > gain:
            best, gain = (mean, std, int(other.sum())), better - worse
    if best is not None:
        mean, std, count = best
        notify(
            f"the model classifies {int(right.sum())} of {len(images)} tiles correctly, and {count} if they are "
            f"normalized with mean {_write(mean)} and standard deviation {_write(std)}: it expects normalized images; "
            f"give --mean {_format_channels(mean)} --std {_format_channels(std)}, or put the normalization into the "
            "model"
        )


def _compute_logits(network: nn.Module, images: Tensor) -> NDArray[Any]:
    logits: NDArray[Any] = network(images.to(find_device(network))).float().cpu().numpy()
    return logits


def _write(channels: Channels) -> str:
    return ", ".join(f"{value:.4g}" for value in channels)


def _format_channels(channels: Channels) -> str:
    return ",".join(f"{value:.6g}" for value in channels)
