"""Foreign code kept within bounds: it ends when its time is up, and leaves the model as it found it."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from torch import nn

MOMENT = 0.1
"""Seconds between two looks at whether a contestant has used up its time."""


class TimeUp(BaseException):  # no Exception: libraries catch those
    """The time limit has been reached."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """End the block after so many CPU seconds of this process, give or take `MOMENT`.

    A thread looks at the clock. A timer on CPU time would be simpler, but where one is set Linux counts CPU time in
    ticks of milliseconds from then on, and the costs of single passes could no longer be measured.
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
    """Give a model back as it was, whatever the block does to it; and let it draw the same random numbers each time."""
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
