"""The preparation of a model for attacks: a fast form is built once, and the plain model decides every success."""

import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from raypipe.attacks.engine.crop import crop_kernels
from raypipe.attacks.engine.fix_padding import fix_padding

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
"""Number of tiles on which the folded model is compared with the plain one."""
SAME = 1e-6
"""Largest relative difference between the logits and gradients of the folded model and of the plain one. Both are
computed in double precision for this comparison. In single precision one ReLU whose input is at rounding level can
change a gradient by a percent although nothing is wrong."""


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
    folded
        True if batch normalization is folded. This is impossible where the model cannot be traced, or where folding
        would change its logits or gradients.
    """

    plain: nn.Module
    fast: "Fast"
    exact: "Fast"
    device: torch.device
    batch_size: int
    folded: bool


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

    Raises
    ------
    ValueError
        If the batch size is not positive.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}: expected at least 1")
    device = torch.device(device)
    tiles = torch.rand(TILES, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    network, folded = _fold_batch_norms(model, tiles)
    if half is None and device.type == "cuda":
        half = torch.float16
    memory_format = _memory_format(network, tiles)
    fast = Fast(network.to(memory_format=memory_format), memory_format, half)
    exact = fast if half is None else Fast(fast.network, memory_format, half=None)
    size = batch_size or _largest_useful_batch(fast, shape, device)
    return PreparedModel(model, fast, exact, device, size, folded)


def _memory_format(network: nn.Module, tiles: Tensor) -> torch.memory_format:
    """Return the memory format of the images: channels last, except for a network that fails on it.

    A network fails on it if it calls `view` where channels last needs `reshape`.
    """
    last = torch.channels_last
    try:
        _logits_and_gradient(network, tiles.contiguous(memory_format=last))
    except RuntimeError:
        return torch.contiguous_format
    return last


def _fold_batch_norms(model: nn.Module, tiles: Tensor) -> tuple[nn.Module, bool]:
    """Return a frozen copy in evaluation mode, and True if batch normalization is folded into its convolutions.

    It is folded only if that is possible and changes neither logits nor gradients. Gradients must be compared too,
    because tracing drops `torch.no_grad`, which straight-through estimators use, and this does not change the logits.
    """
    network = copy.deepcopy(model).eval().requires_grad_(False)
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in network.modules()):
        return network, False  # a trace keeps its compiled form, which no conversion to double or float reaches
    try:
        exact = _split_activations(copy.deepcopy(network)).double()
        fixed = copy.deepcopy(exact)
        fix_padding(fixed, tiles.double())
        candidate: nn.Module = fuse(fixed)
        crop_kernels(candidate, tiles.double())  # the traced maps depend on the shape of the tiles only
        candidate.requires_grad_(False)
        both = [_logits_and_gradient(form, tiles.double()) for form in (exact, candidate)]
        same = all((one - other).norm() <= SAME * one.norm() for one, other in zip(*both, strict=True))
    except Exception:  # noqa: BLE001  Tracing runs foreign code, and untraceable models are common.
        return network, False
    return (candidate.float(), True) if same else (network, False)


def _split_activations(network: nn.Module) -> nn.Module:
    """Split timm's layers of batch normalization with an activation into two layers, and return the network.

    Folding finds only plain layers of batch normalization.
    """
    for name, layer in network.named_children():
        if isinstance(layer, nn.BatchNorm2d) and hasattr(layer, "act"):
            ends = [part for part in (layer.drop, layer.act) if isinstance(part, nn.Module)]
            plain = nn.BatchNorm2d(layer.num_features, eps=layer.eps).to(layer.weight).requires_grad_(False).eval()
            plain.load_state_dict(layer.state_dict())
            setattr(network, name, nn.Sequential(plain, *ends))
        else:
            _split_activations(layer)
    return network


def _logits_and_gradient(network: nn.Module, tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits, and the gradient of their weighted sum; it is zero if no gradient reaches the tiles.

    Each class has another weight.
    """
    images = tiles.clone().requires_grad_()
    logits: Tensor = network(images)
    if not logits.requires_grad:
        return logits, torch.zeros_like(images)
    weights = torch.linspace(1, 2, logits.shape[1]).to(logits)
    return logits.detach(), torch.autograd.grad((logits * weights).sum(), images)[0]


def _largest_useful_batch(network: nn.Module, shape: tuple[int, int, int], device: torch.device) -> int:
    """Return the largest batch size that makes each tile cheaper and fits into memory."""
    tile = torch.full((1, *shape), 0.5, device=device)
    room = int(MEMORY_SHARE * _free_memory(device) / _bytes_kept(network, tile))
    largest = max(1, min(room, LARGEST_BATCH[device.type]))
    if device.type == "cpu":
        return min(largest, max(SMALLEST_BATCH, CPU_PIXELS // (shape[1] * shape[2])))
    return _batch_that_pays(network, tile, largest)


def _batch_that_pays(network: nn.Module, tile: Tensor, largest: int) -> int:
    """Return the batch size, doubled as long as each tile gets clearly cheaper in trials on a GPU."""
    size, each = SMALLEST_BATCH, float("inf")
    while size <= largest:
        tiles = tile.repeat(size, 1, 1, 1)
        try:
            seconds = _best_time(lambda tiles=tiles: _logits_and_gradient(network, tiles), tile.device)  # type: ignore[misc]
        except torch.OutOfMemoryError:
            break
        if seconds / size > CLEARLY_FASTER * each:
            break
        size, each = 2 * size, seconds / size
    return min(largest, max(1, size // 2))


def _best_time(trial: Callable[[], object], device: torch.device) -> float:
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


def _bytes_kept(network: nn.Module, tile: Tensor) -> int:
    """Return the bytes that the forward pass of one tile keeps for its backward pass."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(tile.clone().requires_grad_())
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    return sum(size for storage, size in kept.items() if storage not in weights) + tile.nbytes
