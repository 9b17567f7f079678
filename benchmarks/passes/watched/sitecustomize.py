"""A hook on PYTHONPATH: every process that loads PyTorch records when and how long it is in network passes."""

import atexit
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

FOLDER = "PASSES_FOLDER"
"""Name of the environment variable with the folder that processes write to."""
BUCKET_SECONDS = 0.1
WRITE_EVERY_SECONDS = 0.25
"""Interval of the writes. Ray ends its workers without notice, so they cannot wait for their end."""


class Notes:
    """Seconds in passes by tenth of a second since 1970, in a file of this process."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / f"{os.getpid()}.json"
        self.seconds: dict[int, float] = defaultdict(float)
        self.written = 0.0

    def add(self, begun: float, ended: float) -> None:
        """Add the seconds of a pass."""
        bucket = int(begun / BUCKET_SECONDS)
        while begun < ended:
            edge = (bucket + 1) * BUCKET_SECONDS
            self.seconds[bucket] += max(0.0, min(edge, ended) - begun)
            begun, bucket = edge, bucket + 1
        if ended - self.written > WRITE_EVERY_SECONDS:
            self.written = ended
            self.write()

    def write(self) -> None:
        """Write the seconds so far."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.seconds))
        partial.replace(self.path)


def watch(torch: Any, notes: Notes) -> None:
    """Time the outermost forward and backward passes."""
    inside = threading.local()

    def timed(call: Any) -> Any:
        @functools.wraps(call)
        def of_pass(*arguments: Any, **options: Any) -> Any:
            if getattr(inside, "pass_", False):
                return call(*arguments, **options)
            inside.pass_, begun = True, time.time()
            try:
                return call(*arguments, **options)
            finally:
                inside.pass_ = False
                notes.add(begun, time.time())

        return of_pass

    torch.nn.Module.__call__ = timed(torch.nn.Module.__call__)
    torch.Tensor.backward = timed(torch.Tensor.backward)
    torch.autograd.backward = timed(torch.autograd.backward)
    torch.autograd.grad = timed(torch.autograd.grad)


class Finder(importlib.abc.MetaPathFinder):
    """A finder that loads PyTorch as usual, and watches it once it is loaded."""

    def find_spec(self, fullname: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        """Return the usual specification with a loader that also starts the watch."""
        if fullname != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_watch(module: Any) -> None:
            load(module)
            notes = Notes(os.environ[FOLDER])
            atexit.register(notes.write)
            watch(module, notes)

        spec.loader.exec_module = load_and_watch  # type: ignore[method-assign]
        return spec


if FOLDER in os.environ:
    sys.meta_path.insert(0, Finder())
