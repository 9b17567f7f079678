"""A model made ready to be attacked: what speed needs is done once, and the plain model keeps the last word."""

import copy
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

MemoryFormat = Literal["contiguous", "channels_last"]
FORMATS: dict[MemoryFormat, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
TRIAL_TILES = 8
"""Of the trials; also the smallest batch to try."""
CLEARLY_FASTER = 0.93
"""The other format, or a batch twice as large, must need less than this share of the time to be chosen."""
LARGEST_BATCH = {"cpu": 64, "cuda": 1024}
"""On a CPU larger batches only take memory; on a GPU they still pay."""
MEMORY_SHARE = 0.5
"""Of the free memory that what a batch's passes keep may take: attacks keep several images for each tile besides."""
SAME = 1e-6
"""Share of their own size by which the folded model's logits and gradients may differ from the plain one's. Both are
computed in double precision for that: in single precision one ReLU whose input is at rounding level can change a
gradient by a percent, and nothing is wrong."""


@dataclass
class PreparedModel:
    """A model in the two forms that `raypipe.attacks.engine.generate` uses.

    Parameters
    ----------
    plain
        As it was given, and as it will be used: it alone says whether a stored tile fools it.
    fast
        The same function for the attack's own passes: frozen, batch normalization folded into the convolutions, in the
        memory format and the precision that are fastest on the device.
    exact
        `fast` in float32, with the same weights; it is `fast` itself where that computes in float32. Attacks run on it
        again where half precision misled them.
    device
        Where both are.
    batch_size
        Tiles in work at once. Lowered when memory runs out.
    memory_format
        Of the fast model.
    folded
        Whether batch normalisation could be folded: not where the model cannot be traced, or has other logits or other
        gradients afterwards.
    """

    plain: nn.Module
    fast: "Fast"
    exact: "Fast"
    device: torch.device
    batch_size: int
    memory_format: MemoryFormat
    folded: bool


class Fast(nn.Module):
    """A network that takes images in any memory format, and computes in its own.

    Parameters
    ----------
    network
        Images in, logits out; already in `memory_format`.
    memory_format
        Into which images are brought.
    half
        The type in which PyTorch's autocast computes where it holds that to be safe; None: float32 throughout.
    """

    def __init__(self, network: nn.Module, memory_format: MemoryFormat, half: torch.dtype | None) -> None:
        super().__init__()
        self.network = network
        self.memory_format = FORMATS[memory_format]
        self.half_precision = half

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes), float32, of images (n, channels, h, w)."""
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
    memory_format: MemoryFormat | None = None,
    half: torch.dtype | None = None,
) -> PreparedModel:
    """Make a model ready to be attacked on tiles of one size. The model itself is left as it was.

    Parameters
    ----------
    model
        Already on `device`; float32 (n, channels, h, w) in [0, 1] in, logits out.
    shape
        Of a tile: channels, height, width.
    device
        Where to compute.
    batch_size
        Tiles at once. None: found by trial, as large as pays and fits into memory.
    memory_format
        None: found by trial. Say it where two runs must agree to the last bit.
    half
        The half precision of the attack's own passes; None: float16 on a GPU, float32 on a CPU.

    Raises
    ------
    ValueError
        If the batch size is not positive.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}: expected at least 1")
    device = torch.device(device)
    tiles = torch.rand(TRIAL_TILES, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    network, folded = _folded(model, tiles)
    if half is None and device.type == "cuda":
        half = torch.float16
    formats = [memory_format] if memory_format else list(FORMATS)
    forms = {name: Fast(copy.deepcopy(network).to(memory_format=FORMATS[name]), name, half) for name in formats}
    chosen = formats[0]
    if len(forms) > 1:
        trials = [lambda form=form: _logits_and_gradient(form, tiles) for form in forms.values()]
        costs = _alternating(trials, device, repeats=3)
        chosen = formats[1] if costs[1] < CLEARLY_FASTER * costs[0] else formats[0]
    fast = forms[chosen]
    exact = fast if half is None else Fast(fast.network, chosen, half=None)
    size = batch_size or _batch_that_pays(fast, shape, device)
    return PreparedModel(model, fast, exact, device, size, chosen, folded)


def _folded(model: nn.Module, tiles: Tensor) -> tuple[nn.Module, bool]:
    """A frozen copy in evaluation mode, with batch normalisation folded if that is possible and changes nothing.

    Gradients are compared as well as logits: tracing forgets `torch.no_grad`, with which straight-through estimators
    are written, and the logits are the same without it.
    """
    network = copy.deepcopy(model).eval().requires_grad_(False)
    try:
        exact = _parted(copy.deepcopy(network)).double()
        candidate: nn.Module = fuse(exact).requires_grad_(False)
        both = [_logits_and_gradient(form, tiles.double()) for form in (exact, candidate)]
        same = all((one - other).norm() <= SAME * one.norm() for one, other in zip(*both, strict=True))
    except Exception:  # noqa: BLE001  tracing runs foreign code, and untraceable models are common
        return network, False
    return (candidate.float(), True) if same else (network, False)


def _parted(network: nn.Module) -> nn.Module:
    """The same, with timm's batch normalisation that ends in an activation as the two layers that it is: folding looks
    for batch normalisation alone.
    """
    for name, layer in network.named_children():
        if isinstance(layer, nn.BatchNorm2d) and hasattr(layer, "act"):
            ends = [part for part in (layer.drop, layer.act) if isinstance(part, nn.Module)]
            plain = nn.BatchNorm2d(layer.num_features, eps=layer.eps).to(layer.weight).requires_grad_(False).eval()
            plain.load_state_dict(layer.state_dict())
            setattr(network, name, nn.Sequential(plain, *ends))
        else:
            _parted(layer)
    return network


def _logits_and_gradient(network: nn.Module, tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Of a sum in which every class has another weight; a gradient of zeros where none reaches the tiles."""
    images = tiles.clone().requires_grad_()
    logits: Tensor = network(images)
    if not logits.requires_grad:
        return logits, torch.zeros_like(images)
    weights = torch.linspace(1, 2, logits.shape[1]).to(logits)
    return logits.detach(), torch.autograd.grad((logits * weights).sum(), images)[0]


def _alternating(trials: Sequence[Callable[[], object]], device: torch.device, repeats: int = 2) -> list[float]:
    """The best time of each trial in seconds; they take turns, so that a busy machine is busy for all of them."""
    best = [float("inf")] * len(trials)
    for repeat in range(repeats):
        for position, trial in enumerate(trials):
            begun = time.perf_counter()
            trial()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat:  # the first is the warm-up
                best[position] = min(best[position], time.perf_counter() - begun)
    return best


def _batch_that_pays(network: nn.Module, shape: tuple[int, int, int], device: torch.device) -> int:
    """Double the batch as long as a tile gets clearly cheaper and memory suffices."""
    tile = torch.full((1, *shape), 0.5, device=device)
    room = MEMORY_SHARE * _free_memory(device) / _bytes_kept(network, tile)
    size, each = TRIAL_TILES, float("inf")
    while size <= min(room, LARGEST_BATCH[device.type]):
        tiles = tile.repeat(size, 1, 1, 1)
        try:
            (seconds,) = _alternating([lambda tiles=tiles: _logits_and_gradient(network, tiles)], device)  # type: ignore[misc]
        except torch.OutOfMemoryError:
            break
        if seconds / size > CLEARLY_FASTER * each:
            break
        size, each = 2 * size, seconds / size
    return max(1, size // 2)


def _free_memory(device: torch.device) -> float:
    """Bytes that this process may count on; on a CPU, its share among as many processes as there are cores."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (os.cpu_count() or 1)


def _bytes_kept(network: nn.Module, tile: Tensor) -> int:
    """What one tile's forward pass keeps for its backward pass."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(tile.clone().requires_grad_())
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    return sum(size for storage, size in kept.items() if storage not in weights) + tile.nbytes
