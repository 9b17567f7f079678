"""Checks of the software: Python, packages, extras, and the encoding of names and output."""

import importlib.metadata
import locale
import platform
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from packaging.requirements import Requirement
from packaging.version import Version

from raypipe.execution.machine.finding import Finding

NAMED = ("torch", "torchvision", "ray")
"""Packages with a finding of their own."""
EXTRAS = {"mlflow": ("mlflow",), "onnx": ("onnx", "onnxruntime", "onnxscript"), "timm": ("timm",)}
"""The modules of each extra that users install."""


def check_python() -> Iterator[Finding]:
    """Check the version of Python against the declared one."""
    wanted = importlib.metadata.metadata("raypipe")["Requires-Python"]
    version = platform.python_version()
    if Version(version) in Requirement(f"python{wanted}").specifier:
        yield Finding("Python", "ok", f"{version}, needs {wanted}")
    else:
        yield Finding("Python", "problem", f"{version}, needs {wanted}", "make an environment with another Python")


def check_packages() -> Iterator[Finding]:
    """Check the version of each required package against the declared range."""
    found = []
    for text in importlib.metadata.requires("raypipe") or ():
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(wanted.name, "problem", "not installed", f"pip install '{wanted}'")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            remedy = f"pip install '{wanted.name}{wanted.specifier}'"
            yield Finding(wanted.name, "problem", f"{version}, needs {wanted.specifier}", remedy)
        elif wanted.name in NAMED:
            yield Finding(wanted.name, "ok", f"{version}, needs {wanted.specifier}")
        else:
            found.append(f"{wanted.name} {version}")
    yield Finding("packages", "ok", f"{len(found)} others are in their ranges")


def check_extras() -> Iterator[Finding]:
    """Say which extras are installed."""
    for extra, modules in EXTRAS.items():
        if missing := [module for module in modules if find_spec(module) is None]:
            text = f"not installed: {', '.join(missing)}"
            yield Finding(f"extra {extra}", "note", text, f"if you need it: pip install 'raypipe[{extra}]'")
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def check_locale() -> Iterator[Finding]:
    """Check that file names and output can have any character."""
    encodings = {"file names": sys.getfilesystemencoding(), "output": sys.stdout.encoding or "none",
                 "locale": locale.getencoding()}  # fmt: skip
    wrong = [f"{use} in {name}" for use, name in encodings.items() if name.lower().replace("-", "") != "utf8"]
    if wrong:
        yield Finding("locale", "note", ", ".join(wrong), "export LC_ALL=C.UTF-8, so that names keep their characters")
    else:
        yield Finding("locale", "ok", "UTF-8")
