"""The fast form of a network: batch normalization folded into convolutions, and smaller kernels.

A trial finds once which layers can change, and checks in double precision that the network computes the same. The
result is a short record. Any process that has the network applies it in a few hundredths of a second.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from raypipe.attacks.engine.crop import crop_kernels, measure_cropped
from raypipe.attacks.engine.fix_padding import fix_padding, measure_padded
from raypipe.attacks.engine.map_sizes import Size
from raypipe.base.errors import get_last_line
from raypipe.base.settings import Settings

SAME = 1e-6
"""Largest relative difference between the logits and gradients of the folded network and of the plain one. Both are
computed in double precision for this comparison. In single precision one ReLU whose input is at rounding level can
change a gradient by a percent although nothing is wrong."""
PAIRS = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))
"""Types of a convolution and of the batch normalization that can be folded into it."""


class Folding(Settings):
    """Layers that the fast form of a network changes, and the check that it computes the same.

    Parameters
    ----------
    padded
        Convolutions that compute their padding in every pass, with the size of their feature map.
    pairs
        Convolutions, each with the batch normalization that is folded into it.
    cropped
        Convolutions with a smaller kernel, with the size of their feature map.
    difference
        Largest relative difference of logits and gradients from the plain network, in double precision. At most `SAME`,
        otherwise the network keeps its layers.
    """

    padded: Mapping[str, Size] = {}
    pairs: tuple[tuple[str, str], ...] = ()
    cropped: Mapping[str, Size] = {}
    difference: float


class NotFoldedError(ValueError):
    """Reason why a network keeps its layers."""


def find_folding(model: nn.Module, tiles: Tensor) -> Folding:
    """Return the layers of a model that can be folded, after a comparison in double precision.

    The model is left unchanged. The comparison includes gradients, because folding could change a gradient alone.

    Parameters
    ----------
    model
        Network on the device of the tiles.
    tiles
        (n, channels, h, w) tiles of the shape that the network will always get, float32 in [0, 1].

    Raises
    ------
    NotFoldedError
        If the model cannot be traced, or if folding would change its logits or gradients.
    """
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in model.modules()):
        raise NotFoldedError("a program of TorchScript keeps its compiled form")
    tiles = tiles.double()
    try:
        exact = _split_activations(_copy_frozen(model)).double()
        padded = measure_padded(exact, tiles)
        fixed = copy.deepcopy(exact)
        fix_padding(fixed, padded)
        pairs = _find_pairs(fixed)
        cropped = measure_cropped(fixed, tiles)
        candidate = _change_layers(fixed, Folding(padded=padded, pairs=pairs, cropped=cropped, difference=0))
        both = [compute_logits_and_gradient(form, tiles) for form in (exact, candidate)]
    except Exception as error:  # tracing runs foreign code, and untraceable models are common
        raise NotFoldedError(f"it cannot be traced ({type(error).__name__}: {get_last_line(error)})") from error
    differences = [_compare_lengths(one, other) for one, other in zip(*both, strict=True)]
    if not all(each <= SAME for each in differences):  # NaN is not
        raise NotFoldedError("folding changes its logits by {:.1e} and its gradients by {:.1e}".format(*differences))
    return Folding(padded=padded, pairs=pairs, cropped=cropped, difference=max(differences))


def apply_folding(model: nn.Module, folding: Folding | None) -> nn.Module:
    """Return a frozen copy of a model in evaluation mode, with folded layers where a folding is given.

    The copy shares the tensors of all other layers with the model, which is left unchanged.

    Raises
    ------
    AttributeError
        If a layer of the folding does not exist, because it belongs to another network.
    """
    if folding is None:
        return copy.deepcopy(model).eval().requires_grad_(False)
    network = _split_activations(_copy_frozen(model))
    fix_padding(network, folding.padded)
    return _change_layers(network, folding)


def compute_logits_and_gradient(network: nn.Module, tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits, and the gradient of their weighted sum; it is zero if no gradient reaches the tiles.

    Each class has another weight.
    """
    images = tiles.clone().requires_grad_()
    logits: Tensor = network(images)
    if not logits.requires_grad:
        return logits, torch.zeros_like(images)
    weights = torch.linspace(1, 2, logits.shape[1]).to(logits)
    return logits.detach(), torch.autograd.grad((logits * weights).sum(), images)[0]


def _copy_frozen(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose parameters need no gradient. It shares the values with the model."""
    shared: dict[int, Tensor] = {}
    for parameter in model.parameters():
        shared[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    for buffer in model.buffers():
        shared[id(buffer)] = buffer.detach()
    return copy.deepcopy(model, shared).eval()


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


def _find_pairs(network: nn.Module) -> tuple[tuple[str, str], ...]:
    """Return the names of each convolution whose output goes to a batch normalization and nowhere else, and of both."""
    layers = dict(network.named_modules())
    pairs = []
    for node in fx.symbolic_trace(network).graph.nodes:
        before = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        convolution, normalization = layers[str(before.target)], layers[str(node.target)]
        foldable = (type(convolution), type(normalization)) in PAIRS and normalization.running_mean is not None
        if foldable and len(before.users) == 1:
            pairs.append((str(before.target), str(node.target)))
    return tuple(pairs)


def _change_layers(network: nn.Module, folding: Folding) -> nn.Module:
    """Fold and crop layers in place, and return the network."""
    for name, after in folding.pairs:
        convolution, normalization = network.get_submodule(name), network.get_submodule(after)
        network.set_submodule(name, _fold(convolution, normalization), strict=True)
        network.set_submodule(after, nn.Identity(), strict=True)
    crop_kernels(network, folding.cropped)
    return network.requires_grad_(False)


def _fold(convolution: Any, normalization: Any) -> nn.Module:
    """Return a convolution that includes the batch normalization after it. Its weights are computed in double."""
    tensors = [convolution.weight, convolution.bias, normalization.running_mean, normalization.running_var]
    tensors += [normalization.weight, normalization.bias]
    weight, bias, mean, variance, scale, shift = (None if each is None else each.detach().double() for each in tensors)
    fused = fuse_conv_bn_weights(weight, bias, mean, variance, normalization.eps, scale, shift)  # type: ignore[arg-type]
    folded: nn.Module = copy.copy(convolution)  # it shares all but the parameters
    folded._parameters = {
        name: nn.Parameter(tensor.detach().to(convolution.weight.dtype), requires_grad=False)
        for name, tensor in zip(("weight", "bias"), fused, strict=True)
    }
    return folded


def _compare_lengths(one: Tensor, other: Tensor) -> float:
    """Return the length of a difference as a share of the first vector's length."""
    length = float((one - other).norm())
    return length / float(one.norm()) if length else 0.0
