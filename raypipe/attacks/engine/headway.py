"""Headway of an attack: the number of tiles that it has decided, for those who wait.

An attack may go over its tiles in several rounds, such as random restarts or growing radii. A tile that is still
undecided counts by the share of the work that it has behind it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Observer = Callable[[float], None]
"""Function that receives the number of tiles decided so far."""

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def observe_headway(observer: Observer | None) -> Iterator[None]:
    """Report headway to a function while the block runs in this thread; None reports it to nobody."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


@contextmanager
def count_one_round(decided: int, entering: int, before: float = 0.0, after: float = 1.0) -> Iterator[None]:
    """Count what the block reports as one round among several.

    Parameters
    ----------
    decided
        Number of tiles that do not enter the round, because earlier work decided them.
    entering
        Number of tiles that enter the round.
    before, after
        Share of the largest work on a tile that is done when it enters the round, and when it leaves it undecided.
    """
    outer = _observer.get()
    if outer is None:
        yield
        return
    with observe_headway(lambda tiles: outer(decided + before * entering + (after - before) * tiles)):
        yield


def report(tiles: float) -> None:
    """Report the number of tiles decided so far in this round."""
    observer = _observer.get()
    if observer is not None:
        observer(tiles)
