"""The entry of every finished model: a trial that finds what attacks cannot use, and adapts the model where it can."""

from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from raypipe.attacks.engine.victim import freeze
from raypipe.base.errors import notify
from raypipe.models.batch_sizes import ANY, BatchSizes, read_batch_sizes
from raypipe.models.finished_model import FinishedModel
from raypipe.models.foreign.black_box import find_reason, may_refuse
from raypipe.models.outputs import LogProbabilities, describe_probabilities, recognize_probabilities
from raypipe.models.restricted import LimitedBatch, NonEmptyBatch, WithoutGradient

Shape = tuple[int, int, int]
"""Shape of a tile: channels, height, width."""
RANDOM = 4
"""Number of random images of the trial; a black one and a white one follow."""
BATCHES = (*range(1, 9), 16, 32)
"""Batch sizes to try on a network that does not take the trial's images at once."""
MORE_BATCHES = (10, 12, 20, 24, 64, 100, 128)
"""Batch sizes to try as well on a program of TorchScript: a trace fixes that of its example, without stating it."""
SIZES = (28, *range(32, 513, 16), 227, 299)
"""Usual heights and widths, to try on a network that refuses its tiles."""
DTYPES = (torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True)
class AdaptedNetwork:
    """A network that maps any number of images to logits.

    Parameters
    ----------
    network
        The given network, or one around it.
    classes
        Number of its logits.
    changes
        Changes to the network, in words that complete the name of the model's form; empty if there are none.
    differentiable
        True if a gradient reaches an image of the trial.
    """

    network: nn.Module
    classes: int
    changes: tuple[str, ...]
    differentiable: bool


def find_device(network: nn.Module) -> torch.device:
    """Return the device of a network's parameters."""
    return next(chain(network.parameters(), network.buffers()), torch.empty(0)).device


def adapt_network(network: nn.Module, shape: Shape) -> AdaptedNetwork:
    """Try a network on images of the shape of its tiles, and adapt it to what attacks expect.

    Of probabilities, the logarithm is taken. A network that takes some batch sizes only gets such batches. A
    `raypipe.base.errors.Notice` says both, and so it does for a network without a gradient.

    Parameters
    ----------
    network
        Module from images (n, channels, h, w), float32 in [0, 1].
    shape
        Shape of a tile: channels, height, width.

    Raises
    ------
    ValueError
        If the network takes no such tiles, does not give two finite outputs or more for each, holds values that are not
        finite, or changes its input in place. The message gives the remedy.
    """
    if not isinstance(network, nn.Module):
        raise ValueError(  # noqa: TRY004  all errors of arguments are ValueErrors
            f"the model is a {type(network).__name__}, expected a torch.nn.Module, or a function from images "
            "(n, 3, h, w) to logits"
        )
    _require_finite_state(network)
    images = _draw_trial_images(shape).to(find_device(network))
    changes: list[str] = []
    network, outputs = _fit_batch(network, images, changes)
    _require_outputs(outputs, len(images))
    outputs, gradient = _differentiate(network, images, outputs)
    if gradient is None:
        network = WithoutGradient(network)
        changes.append("without gradients")
    if kind := recognize_probabilities(outputs):
        network = LogProbabilities(network, kind)
        changes.append("logarithm of probabilities")
        notify(describe_probabilities(kind))
    classes = int(outputs.shape[1])
    if not (may_refuse(network) and _takes_no_images(network, images[:0], classes)):
        network = NonEmptyBatch(network, classes)
    differentiable = gradient is not None and bool(gradient.nan_to_num().any())
    if reason := find_reason(network):
        notify(
            f"the model has no gradients, because {reason}: only black-box attacks such as square work on it; for "
            "white-box attacks give it as a torch.nn.Module"
        )
    elif not differentiable:
        notify(
            f"the model has no gradient ({len(images)} of {len(images)} trial images): white-box attacks on it say "
            "nothing about robustness; give a model that is differentiable (no torch.no_grad, detach, NumPy or "
            "rounding inside), or take a black-box attack such as square"
        )
    return AdaptedNetwork(network, classes, tuple(changes), differentiable)


def use_adapted(model: FinishedModel, adapted: AdaptedNetwork, labels: tuple[str, ...]) -> FinishedModel:
    """Return a model with its adapted network.

    Parameters
    ----------
    model
        Model whose network was adapted. Its card, if it has one, is that of a network that needed no change.
    adapted
        The network that `adapt_network` returned.
    labels
        Names of the classes in the order of the logits.

    Raises
    ------
    ValueError
        If the number of logits differs from the number of classes.
    """
    if adapted.classes != len(labels):
        raise ValueError(
            f"the model gives {adapted.classes} logits, but there are {len(labels)} classes, {', '.join(labels)}: give "
            "the names of all its classes, in the order of its logits (--labels)"
        )
    form, card = ", ".join([model.form, *adapted.changes]), None if adapted.changes else model.card
    return replace(
        model, network=adapted.network, form=form, card=card, labels=labels, differentiable=adapted.differentiable
    )


def _draw_trial_images(shape: Shape) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.cat([torch.rand(RANDOM, *shape, generator=generator), torch.zeros(1, *shape), torch.ones(1, *shape)])


def _require_finite_state(network: nn.Module) -> None:
    """Require finite parameters and buffers without NaN; buffers may hold infinity, as masks of attention do."""
    state = {name: tensor.detach() for name, tensor in chain(network.named_parameters(), network.named_buffers())}
    fixed = {name for name, _ in network.named_buffers()}
    wrong = [
        name
        for name, tensor in state.items()
        if tensor.is_floating_point() and bool(tensor.isnan().any() or (name not in fixed and tensor.isinf().any()))
    ]
    if wrong:
        raise ValueError(
            f"the model's {wrong[0]!r} and {len(wrong) - 1} other tensors hold NaN or infinity; take a checkpoint from "
            "before its training diverged"
        )


def _fit_batch(network: nn.Module, images: Tensor, changes: list[str]) -> tuple[nn.Module, Any]:
    """Return the network, or one that gives it batches of the sizes that it takes, and its outputs for the images."""
    stated = read_batch_sizes(network)
    if stated and stated.least > 1 and _takes_batch(network, images, 1):  # PyTorch checks no limit of 2
        stated = stated._replace(least=1)
    try:
        if stated in (None, ANY):
            return network, _compute_outputs(network, images)
        limited = LimitedBatch(network, *stated)
        outputs = _compute_outputs(limited, images)
    except _InPlaceError as error:
        raise ValueError(_explain(network, images, error)) from error
    except Exception as error:  # the network is foreign code
        tried = (*BATCHES, *MORE_BATCHES) if _is_script(network) else BATCHES
        size = None if stated else next((size for size in tried if _takes_batch(network, images, size)), None)
        if size is None:
            raise ValueError(_explain(network, images, error)) from error
        stated = BatchSizes(size, size)
        limited = LimitedBatch(network, *stated)
        outputs = _compute_outputs(limited, images)
    changes.append(f"batches of {stated}")
    notify(
        f"the model takes only batches of {stated}, so tiles are split into such batches, which is "
        'slower; export it with a free batch size: dynamic_shapes=({0: torch.export.Dim("batch")},) of '
        "torch.export.export, and no batch size as a constant in its code"
    )
    return limited, outputs


def _is_script(network: nn.Module) -> bool:
    return any(isinstance(module, torch.jit.ScriptModule) for module in network.modules())


def _takes_batch(network: nn.Module, images: Tensor, size: int) -> bool:
    """Return True if a network gives outputs for batches of a size."""
    try:
        _compute_outputs(LimitedBatch(network, size, size), images)
    except Exception:  # noqa: BLE001  the network is foreign code
        return False
    return True


def _compute_outputs(network: nn.Module, images: Tensor) -> Any:
    given = images.clone()
    with freeze(network), torch.no_grad():
        outputs = network(given)
    if not torch.equal(given, images):
        raise _InPlaceError
    return outputs


def _takes_no_images(network: nn.Module, none: Tensor, classes: int) -> bool:
    """Return True if a network gives logits (0, classes) for no images."""
    try:
        outputs = _compute_outputs(network, none)
    except Exception:  # noqa: BLE001  the network is foreign code
        return False
    return isinstance(outputs, Tensor) and outputs.shape == (0, classes)


class _InPlaceError(RuntimeError):
    """Error for a network that writes into its input."""

    def __init__(self) -> None:
        super().__init__("it changes its input in place")


def _differentiate(network: nn.Module, images: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the outputs with their graph, and the gradient of the images.

    It is None, beside the given outputs, if the network cannot be differentiated.

    Raises
    ------
    ValueError
        If the network writes into its input, which PyTorch notices only here where the values stay equal.
    """
    points = images.clone().requires_grad_()
    try:
        with freeze(network):
            graphed: Tensor = network(points)
            weights = torch.linspace(1, 2, graphed.shape[1]).to(graphed)
            (gradient,) = torch.autograd.grad((graphed * weights).sum(), points, allow_unused=True, retain_graph=True)
    except Exception as error:  # the network is foreign code
        if "in-place" in str(error):
            raise ValueError(_explain(network, images, error)) from error
        return outputs, None
    return graphed, gradient


def _require_outputs(outputs: Any, count: int) -> None:
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != count or outputs.shape[1] < 2:
        shown = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise ValueError(
            f"the model gives {shown} for {count} tiles, expected logits ({count}, classes), two classes or more; "
            "return the tensor of logits alone, and for one logit of two classes "
            "torch.stack([torch.zeros_like(logit), logit], 1)"
        )
    if not outputs.isfinite().all(1)[:RANDOM].any():
        raise ValueError(
            "the model gives NaN or infinity for every trial image; take a checkpoint from before its training diverged"
        )


def _explain(network: nn.Module, images: Tensor, error: Exception) -> str:
    """Return the failure of a trial in one line, with the remedy for its cause."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    if lines[0].startswith("Exception encountered when calling"):  # Keras names the layer before the cause
        del lines[: len(lines) > 1]
    reason = lines[-1 if "TorchScript" in lines[0] else 0]
    found = next((tensor.dtype for tensor in network.parameters() if tensor.dtype in DTYPES), None)
    if isinstance(error, _InPlaceError) or "in-place" in reason:
        return "the model changes its input in place, which destroys the tiles; begin its forward with images.clone()"
    if found is not None:
        name = str(found).removeprefix("torch.")
        return (
            f"the model's weights are {name} and do not take float32 tiles ({type(error).__name__}: {reason}); convert "
            "it with model.float() before it is saved or given"
        )
    return (
        f"the model does not take float32 tiles {tuple(images.shape)} ({type(error).__name__}: {reason}); "
        f"{_find_remedy(network, images)}"
    )


def _find_remedy(network: nn.Module, images: Tensor) -> str:
    """Return what to do with a network that refuses images: the first change of them that it accepts."""
    if _takes(network, images.permute(0, 2, 3, 1).contiguous()):
        if find_reason(network):
            return "it takes images (n, h, w, 3): give lambda images: model(images.transpose(0, 2, 3, 1))"
        return "it takes images (n, h, w, 3): begin its forward with images.permute(0, 2, 3, 1)"
    if _takes(network, images.mean(1, keepdim=True)):
        return "it takes gray images: begin its forward with images.mean(1, keepdim=True)"
    for size in SIZES:
        if _takes(network, images.new_zeros(*images.shape[:2], size, size)):
            return f"it takes tiles of {size} x {size} pixels: give such tiles (--size {size})"
    return "give tiles of the size that it was made for (--size), in RGB"


def _takes(network: nn.Module, images: Tensor) -> bool:
    """Return True if a network gives outputs (n, classes) for images, one by one or in pairs."""
    for count in (1, 2):
        try:
            outputs = _compute_outputs(network, images[:count])
        except Exception:  # noqa: BLE001, S112  the network is foreign code
            continue
        if isinstance(outputs, Tensor) and outputs.ndim == 2 and len(outputs) == count:
            return True
    return False
