"""The import of torchvision without PyTorch's compiler.

`torchvision.ops.roi_align` imports ``torch._dynamo.utils`` for one function that no classifier calls. That takes nine
tenths of the time of ``import torchvision``, more than PyTorch itself, in every worker.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

PACKAGE, MODULE, FUNCTION = "torch._dynamo", "torch._dynamo.utils", "is_compile_supported"


class _Placeholder(ModuleType):
    """A module that gives way to the real one as soon as anything else of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system asks for these
            raise AttributeError(name)
        _remove_placeholders()
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def defer_compiler() -> Iterator[None]:
    """Leave PyTorch's compiler to its first use while the block imports other packages."""
    if PACKAGE in sys.modules:
        yield
        return
    package, module = _Placeholder(PACKAGE), _Placeholder(MODULE)
    package.__path__ = []
    package.utils = module  # type: ignore[attr-defined]
    module.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    sys.modules |= {PACKAGE: package, MODULE: module}
    try:
        yield
    finally:
        _remove_placeholders()


def _is_compile_supported(*arguments: Any) -> Any:
    return getattr(importlib.import_module(MODULE), FUNCTION)(*arguments)


def _remove_placeholders() -> None:
    for name in (PACKAGE, MODULE):
        if isinstance(sys.modules.get(name), _Placeholder):
            del sys.modules[name]
