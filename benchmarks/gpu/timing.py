"""The clock of a device, which still works after a call has returned."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import torch

from benchmarks.attacks.guard import TimeUp

Result = TypeVar("Result")


def timed(work: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """Return the result of a piece of work, and its seconds by the clock until the device has finished it."""
    synchronize(device)
    begun = time.perf_counter()
    result = work()
    synchronize(device)
    return result, time.perf_counter() - begun


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def limit_clock(seconds: float) -> Iterator[None]:
    """Raise `TimeUp` in the block after a number of seconds by the clock. At least a hundredth of a second is given."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(0.01, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
