"""The preparation of a model for attacks: a fast form is built once, and the plain model decides every success.

Trials find what a preparation needs, once for a model, a device and a tile size. Their results are a short record with
which any other process prepares the same model without a trial.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raypipe.attacks.engine.fold import (
    Folding,
    NotFoldedError,
    apply_folding,
    compute_logits_and_gradient,
    find_folding,
)
from raypipe.base.settings import Settings

SMALLEST_BATCH = 8
"""Smallest batch to choose, if memory suffices."""
LARGEST_BATCH = {"cpu": 64, "cuda": 1024}
"""Largest batch to choose, by device type. On a CPU larger batches only use memory; on a GPU they still save time."""
CPU_PIXELS = 2**18
"""Number of pixels of a batch on a CPU, over all its tiles. More pixels save no time: with ResNet-18, GoogLeNet and
ShuffleNetV2 a pass of a tile of 48 pixels takes 1.4 to 2 times as long in batches of 8 as in batches of 64, and one
of a tile of 224 pixels the same time in batches of 8 as in batches of 16."""
CLEARLY_FASTER = 0.93
"""Share of the time per tile. A GPU gets a batch twice as large only if it needs less than this share."""
MEMORY_SHARE = 0.5
"""Share of the free memory that the tensors of a batch's passes may use. Attacks also keep several images per tile."""
TILES = 2
"""Number of tiles of a trial, among them the comparison of the folded model with the plain one."""


class Trials(Settings):
    """Results of the trials of a model: all that its preparation on the same kind of device needs.

    Parameters
    ----------
    folding
        Layers that the fast form changes, and the check that it computes the same; None if it keeps all layers.
    not_folded
        Reason why it keeps all layers; empty otherwise.
    channels_last
        True if the fast form takes images with channels last in memory.
    batch_size
        Number of tiles to attack at once; None if it was given and needed no trial.
    """

    folding: Folding | None
    not_folded: str
    channels_last: bool
    batch_size: int | None = None


@dataclass
class PreparedModel:
    """A model in the forms that `raypipe.attacks.engine.generate` uses.

    Parameters
    ----------
    plain
        Unchanged model, as it will be used. It alone decides if a stored tile fools the model.
    fast
        Frozen form of the model for the attack's own passes. Its batch normalization is folded into the convolutions,
        and kernels lose the values that meet nothing but padding. It takes images with channels last in memory where
        its layers allow it, and the fastest precision of the device.
    exact
        `fast` in float32, with the same weights. It is `fast` itself if that computes in float32. Attacks run again on
        it where half precision misled them.
    device
        Device of both models.
    batch_size
        Number of tiles attacked at once. Lowered when memory runs out.
    trials
        Results of the trials that the fast form follows from.
    """

    plain: nn.Module
    fast: "Fast"
    exact: "Fast"
    device: torch.device
    batch_size: int
    trials: Trials

    @property
    def folded(self) -> bool:
        """True if batch normalization is folded.

        This is impossible where the model cannot be traced, or where folding would change its logits or gradients.
        """
        return self.trials.folding is not None


class Fast(nn.Module):
    """A network that takes images in any memory format and converts them to its own format.

    Parameters
    ----------
    network
        A network from images to logits, already in `memory_format`.
    memory_format
        Memory format that images are converted to.
    half
        Half-precision type that PyTorch's autocast uses where it considers it safe. None means float32 everywhere.
    """

    def __init__(self, network: nn.Module, memory_format: torch.memory_format, half: torch.dtype | None) -> None:
        super().__init__()
        self.network = network
        self.memory_format = memory_format
        self.half_precision = half

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes), float32, of images (n, channels, h, w)."""
        images = images.contiguous(memory_format=self.memory_format)
        with torch.autocast(images.device.type, dtype=self.half_precision, enabled=self.half_precision is not None):
            logits: Tensor = self.network(images)
        return logits.float()


def prepare(
    model: nn.Module,
    shape: tuple[int, int, int],
    *,
    device: torch.device | str,
    batch_size: int | None = None,
    half: torch.dtype | None = None,
    trials: Trials | None = None,
) -> PreparedModel:
    """Prepare a model for attacks on tiles of one size. The model itself is left unchanged.

    Parameters
    ----------
    model
        A network on `device` from images (n, channels, h, w), float32 in [0, 1], to logits.
    shape
        Shape of a tile: channels, height, width.
    device
        Device of the model and its passes.
    batch_size
        Number of tiles attacked at once. None means the largest batch that saves time and fits into memory. On a CPU it
        depends on the tile size alone, so that two runs agree to the last bit; on a GPU trials choose it.
    half
        Half-precision type of the attack's own passes. None means float16 on a GPU and float32 on a CPU.
    trials
        Results of an earlier preparation of the same model. None runs the trials.

    Raises
    ------
    ValueError
        If the batch size is not positive.
    AttributeError
        If `trials` are those of another network.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}: expected at least 1")
    device = torch.device(device)
    if half is None and device.type == "cuda":
        half = torch.float16
    if trials:
        fast = _wrap(apply_folding(model, trials.folding), trials.channels_last, half)
    else:
        fast, trials = _try_forms(model, shape, device, half)
    if batch_size is None and trials.batch_size is None:
        trials = trials.model_copy(update={"batch_size": _find_largest_batch(fast, shape, device)})
    size = batch_size or trials.batch_size or SMALLEST_BATCH
    exact = fast if half is None else Fast(fast.network, fast.memory_format, half=None)
    return PreparedModel(model, fast, exact, device, size, trials)


def _try_forms(
    model: nn.Module, shape: tuple[int, int, int], device: torch.device, half: torch.dtype | None
) -> tuple[Fast, Trials]:
    """Return the fast form of a model, and the results of the trials that it follows from."""
    tiles = torch.rand(TILES, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    folding, not_folded = None, ""
    try:
        folding = find_folding(model, tiles)
    except NotFoldedError as error:
        not_folded = str(error)
    network = apply_folding(model, folding)
    channels_last = _takes_channels_last(network, tiles)
    trials = Trials(folding=folding, not_folded=not_folded, channels_last=channels_last)
    return _wrap(network, channels_last, half), trials


def _wrap(network: nn.Module, channels_last: bool, half: torch.dtype | None) -> Fast:
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return Fast(network.to(memory_format=memory_format), memory_format, half)


def _takes_channels_last(network: nn.Module, tiles: Tensor) -> bool:
    """Return False for a network that fails on images with channels last in memory.

    It does if it calls `view` where channels last needs `reshape`.
    """
    try:
        compute_logits_and_gradient(network, tiles.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    return True


def _find_largest_batch(network: nn.Module, shape: tuple[int, int, int], device: torch.device) -> int:
    """Return the largest batch size that makes each tile cheaper and fits into memory."""
    tile = torch.full((1, *shape), 0.5, device=device)
    room = int(MEMORY_SHARE * _free_memory(device) / _count_kept_bytes(network, tile))
    largest = max(1, min(room, LARGEST_BATCH[device.type]))
    if device.type == "cpu":
        return min(largest, max(SMALLEST_BATCH, CPU_PIXELS // (shape[1] * shape[2])))
    return _try_batches(network, tile, largest)


def _try_batches(network: nn.Module, tile: Tensor, largest: int) -> int:
    """Return the batch size, doubled as long as each tile gets clearly cheaper in trials on a GPU."""
    size, each = SMALLEST_BATCH, float("inf")
    while size <= largest:
        tiles = tile.repeat(size, 1, 1, 1)
        try:
            seconds = _measure_time(lambda tiles=tiles: compute_logits_and_gradient(network, tiles), tile.device)  # type: ignore[misc]
        except torch.OutOfMemoryError:
            break
        if seconds / size > CLEARLY_FASTER * each:
            break
        size, each = 2 * size, seconds / size
    return min(largest, max(1, size // 2))


def _measure_time(trial: Callable[[], object], device: torch.device) -> float:
    """Return the shorter time of two trials in seconds, after one for warming up."""
    best = float("inf")
    for repeat in range(3):
        begun = time.perf_counter()
        trial()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat:
            best = min(best, time.perf_counter() - begun)
    return best


def _free_memory(device: torch.device) -> float:
    """Return the bytes that this process may use; on a CPU, its share among as many processes as there are cores."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (os.cpu_count() or 1)


def _count_kept_bytes(network: nn.Module, tile: Tensor) -> int:
    """Return the bytes that the forward pass of one tile keeps for its backward pass."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(tile.clone().requires_grad_())
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    return sum(size for storage, size in kept.items() if storage not in weights) + tile.nbytes
