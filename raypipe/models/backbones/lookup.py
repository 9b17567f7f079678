"""Lookup of backbones by name: those of this package, of torchvision, of timm, or of the user."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from raypipe.base.settings import suggest_matches
from raypipe.models.backbones import BACKBONES
from raypipe.models.backbones.base import Backbone, main_logits
from raypipe.models.backbones.from_module import from_module
from raypipe.models.backbones.from_timm import from_timm, list_timm
from raypipe.models.backbones.from_torchvision import from_torchvision, list_torchvision
from raypipe.models.outputs import recognize_probabilities

OTHERS: dict[str, tuple[Callable[[], list[str]], Callable[[str], Backbone]]] = {
    "torchvision": (list_torchvision, from_torchvision),
    "timm": (list_timm, from_timm),
}
"""Two functions by the prefix of the names: one lists the names, and one returns the backbone of a name."""

TRIED = 7
"""Number of classes in a trial. No network has this number of channels by chance."""


def get_backbone(name: str, digest: str | None = None) -> Backbone:
    """Return the backbone of a name.

    Parameters
    ----------
    name
        Key of `raypipe.models.backbones.BACKBONES`, or ``torchvision:NAME``, ``timm:NAME`` or
        ``module:PACKAGE.MODULE:FUNCTION``. The last one imports the module, which runs its code.
    digest
        Expected digest of the source file, if that is the user's own. None accepts the current file.

    Raises
    ------
    ValueError
        If the name is unknown, a package is not installed, or the source file has another digest.
    """
    backbone = _get_backbone(name)
    if digest is not None and digest != backbone.digest:
        raise ValueError(
            f"the source file of {name} has the digest {backbone.digest}, not {digest}: it has changed; restore it, "
            "or leave the digest out and compute again"
        )
    return backbone


@functools.cache
def _get_backbone(name: str) -> Backbone:
    if name in BACKBONES:
        BACKBONES[name].require()
        return BACKBONES[name]
    prefix, separator, rest = name.partition(":")
    if separator and prefix == "module":
        return from_module(rest)
    if separator and prefix in OTHERS:
        names, backbone = OTHERS[prefix]
        if rest in (known := names()):
            return backbone(rest)
        near = suggest_matches(name, [f"{prefix}:{other}" for other in known])
        raise ValueError(f"{prefix} has no classifier of this name{near}")
    ours = ", ".join(BACKBONES)
    raise ValueError(
        f"unknown backbone, expected one of {ours}, or torchvision:NAME, timm:NAME or module:PACKAGE.MODULE:FUNCTION"
        f"{suggest_matches(name, BACKBONES)}"
    )


@functools.cache
def find_incompatibility(name: str, size: int) -> str | None:
    """Return the reason why a backbone cannot classify images of a size, or None if it can.

    A short trial finds it.

    Parameters
    ----------
    name
        Name, as in `get_backbone`.
    size
        Height and width in pixels.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        images = torch.rand(2, 3, size, size)
        failed, hint = "cannot be built", ""
        try:
            network = get_backbone(name).build(TRIED)
            failed, hint = f"cannot take images of {size} pixels", "; see `resize`"
            with torch.enable_grad():  # the graph shows a sigmoid
                logits: Any = network.eval()(images)
            trained: Any = main_logits(network.train()(images))
        except Exception as error:  # noqa: BLE001  foreign code
            return f"{failed} ({type(error).__name__}: {error}){hint}"
    for given, mode in ((logits, "evaluation"), (trained, "training")):
        if not isinstance(given, Tensor) or given.shape != (2, TRIED):
            shown = list(given.shape) if isinstance(given, Tensor) else f"a {type(given).__name__}"
            return f"gives {shown} for 2 images and {TRIED} classes in {mode} mode: expected logits [2, {TRIED}]"
    if kind := recognize_probabilities(logits):
        return (
            f"gives probabilities (as a {kind} does) in evaluation mode: expected logits; return them without the "
            f"{kind}, which training and attacks take themselves"
        )
    return None
