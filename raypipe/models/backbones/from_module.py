"""A user's own network by the import path of what builds it, ``mypkg.net:build``. Importing it runs its code."""

import functools
import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from raypipe.models.backbones.base import Backbone


def from_module(path: str) -> Backbone:
    """The backbone that a function builds: ``build(num_classes)`` gives images (n, 3, h, w) in, logits out.

    The module is looked for where Python looks and then in the current folder. A digest of its source file goes into
    the backbone; files that it imports in turn are not looked at.

    Parameters
    ----------
    path
        ``package.module:function``.

    Raises
    ------
    ValueError
        If there is no such function, or the import fails.
    """
    module_name, separator, function_name = path.partition(":")
    if not (separator and module_name and function_name):
        raise ValueError(f"module:{path}: expected module:PACKAGE.MODULE:FUNCTION, as in module:mypkg.net:build")
    module = _imported(module_name)
    build = getattr(module, function_name, None)
    if not callable(build):
        raise ValueError(  # noqa: TRY004  of the experiment's text
            f"module:{path}: {module.__file__} has no function {function_name!r}"
        )
    digest = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()[:20]
    return Backbone(functools.partial(_build, path, build), digest=digest)


def _imported(name: str) -> Any:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever the user's code raises
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
    return network
