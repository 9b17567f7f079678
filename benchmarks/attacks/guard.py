"""Limits for foreign code: it ends when its time is up, and leaves the model unchanged."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from torch import nn

MOMENT = 0.1
"""Seconds between two checks of the time that a contestant has used."""


class TimeUp(BaseException):  # no Exception, because libraries catch those
    """The end of the time limit."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """End the block after a number of CPU seconds of this process, within `MOMENT`.

    A thread checks the time. A timer on CPU time would be simpler, but once one is set, Linux counts CPU time in ticks
    of milliseconds, and the costs of single passes could no longer be measured.
    """
    over, begun, here = threading.Event(), time.process_time(), threading.get_ident()

    def stop(_number: int, _frame: FrameType | None) -> None:
        if not over.is_set():
            raise TimeUp

    def watch() -> None:
        while not over.wait(MOMENT):
            if time.process_time() - begun > seconds:
                signal.pthread_kill(here, signal.SIGUSR1)
                return

    before = signal.signal(signal.SIGUSR1, stop)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, before)


@contextmanager
def clean_afterwards(model: nn.Module) -> Iterator[None]:
    """Restore a model after the block, and let the block draw the same random numbers each time."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in flags:
            parameter.requires_grad_(requires_grad)
            parameter.grad = None
        model.load_state_dict(state)
