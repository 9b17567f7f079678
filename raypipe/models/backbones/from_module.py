"""Backbones of the user, by the import path of a function that builds the network, such as ``mypkg.net:build``.

Importing the path runs its code.
"""

import functools
import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from raypipe.models.backbones.base import Backbone


def from_module(path: str) -> Backbone:
    """Return the backbone of a user's function: ``build(num_classes)`` returns a network.

    The network maps images (n, 3, h, w) to logits. The module is searched on Python's path and then in the current
    folder. The backbone holds a digest of its source file. Files that this imports in turn are not part of the digest.

    Parameters
    ----------
    path
        Import path, ``package.module:function``.

    Raises
    ------
    ValueError
        If the function does not exist, or the import fails.
    """
    module_name, separator, function_name = path.partition(":")
    if not (separator and module_name and function_name):
        raise ValueError(f"module:{path}: expected module:PACKAGE.MODULE:FUNCTION, as in module:mypkg.net:build")
    module = _import(module_name)
    build = getattr(module, function_name, None)
    if not callable(build):
        raise ValueError(  # noqa: TRY004  the experiment's text has a wrong value
            f"module:{path}: {module.__file__} has no function {function_name!r}"
        )
    digest = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()[:20]
    return Backbone(functools.partial(_build, path, build), digest=digest)


def _import(name: str) -> Any:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(name)
    except Exception as error:  # the user's code may raise anything
        raise ValueError(
            f"module:{name} cannot be imported: {type(error).__name__}: {error}; it has to be in the current folder or "
            "on PYTHONPATH, on a cluster of every worker"
        ) from error
    if not getattr(module, "__file__", None):
        raise ValueError(f"module:{name} is not a file: name the module in which the function is")
    return module


def _build(path: str, build: Callable[[int], Any], num_classes: int) -> nn.Module:
    network = build(num_classes)
    if not isinstance(network, nn.Module):
        raise TypeError(f"module:{path} gave a {type(network).__name__}: expected a torch.nn.Module")
    # `Classifier` gives images with channels last in memory. A network that calls `view` fails on them.
    network.register_forward_pre_hook(_make_contiguous)
    return network


def _make_contiguous(_network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.contiguous() if isinstance(value, Tensor) else value for value in inputs)
