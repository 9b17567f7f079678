"""On PYTHONPATH, has a process that loads PyTorch write down how long it was in network passes, and when."""

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
"""The environment's name for where processes write."""
BUCKET_SECONDS = 0.1
WRITE_EVERY_SECONDS = 0.25
"""Ray ends its workers without a word, so they cannot wait for their end."""


class Notes:
    """Seconds in passes by tenth of a second since 1970, in a file of this process."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / f"{os.getpid()}.json"
        self.seconds: dict[int, float] = defaultdict(float)
        self.written = 0.0

    def add(self, begun: float, ended: float) -> None:
        """Add a pass."""
        bucket = int(begun / BUCKET_SECONDS)
        while begun < ended:
            edge = (bucket + 1) * BUCKET_SECONDS
            self.seconds[bucket] += max(0.0, min(edge, ended) - begun)
            begun, bucket = edge, bucket + 1
        if ended - self.written > WRITE_EVERY_SECONDS:
            self.written = ended
            self.write()

    def write(self) -> None:
        """Write down what there is."""
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
    """Finds PyTorch as ever, and watches it once it is loaded."""

    def find_spec(self, fullname: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        """The usual specification, whose loader does a little more."""
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
