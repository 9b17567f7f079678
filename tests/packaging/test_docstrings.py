"""The parameters that docstrings describe, which must exist: a renamed one keeps its old name there.

Ruff checks the form of docstrings (rules D, numpy convention). It does not compare them with the code. The full
numpydoc validation would, but it also demands a section for every parameter and every return value, where one line
says enough.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import raypipe

SECTION = re.compile(r"^Parameters\n-+\n(.*?)(?=\n\n?\S[^\n]*\n---|\Z)", re.M | re.S)
MODULES = [module.name for module in pkgutil.walk_packages(raypipe.__path__, "raypipe.")]


def documented(item: object) -> list[str]:
    """Return the names of the parameters that a docstring describes."""
    section = SECTION.search(inspect.cleandoc(getattr(item, "__doc__", None) or ""))
    heads = re.findall(r"^(\S.*?)(?: : .*)?$", section[1], re.M) if section else []
    return [name.strip(" *") for head in heads for name in head.split(",")]


def declared(item: type | Callable[..., Any]) -> set[str]:
    """Return the names of a function's parameters, or of a class's fields and parameters."""
    if not inspect.isclass(item):
        return set(inspect.signature(item).parameters)
    fields = {name for base in item.__mro__ for name in inspect.get_annotations(base)}
    return fields | set(inspect.signature(item.__init__).parameters)


def documented_items(module: str) -> Iterator[type | Callable[..., Any]]:
    for item in vars(importlib.import_module(module)).values():
        if getattr(item, "__module__", None) == module and (inspect.isclass(item) or inspect.isfunction(item)):
            yield item
            if inspect.isclass(item):
                yield from (method for method in vars(item).values() if inspect.isfunction(method))


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_describe_the_parameters_that_exist(module: str) -> None:
    for item in documented_items(module):
        unknown = set(documented(item)) - declared(item)
        assert not unknown, f"{item.__qualname__} describes {sorted(unknown)}, which it does not take"
