"""The active set: a batch of tiles that a queue keeps full.

Tiles need from one iteration to hundreds. A tile that is done leaves at once, and a new one takes its place. Thus no
pass is spent on a finished tile, and no pass runs on a nearly empty batch while other tiles wait.
"""

import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

from raypipe.attacks.engine import headway
from raypipe.attacks.engine.victim import Victim

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    class State(DataclassInstance, Protocol):
        """State of the active tiles: a dataclass whose fields are all tensors with one entry per tile."""

        @property
        def rows(self) -> Tensor:
            """(n,) positions of the tiles."""

    Tiles = TypeVar("Tiles", bound=State)
else:
    Tiles = TypeVar("Tiles")

MOMENT = 1.0
"""Seconds between two looks at the iterations of the active tiles. On a GPU, a look waits for all work."""
REFILL = 0.25
"""Share of the batch that must be free before new tiles enter. First passes of single tiles would be slow."""


def run_active(
    victim: Victim,
    rows: Tensor,
    start: Callable[[Tensor], Tiles],
    step: Callable[[Tiles], Tiles],
    spent: Callable[[Tiles], Tensor] | None = None,
) -> None:
    """Process all tiles, at most `victim.batch_size` at a time. `start` and `step` store the results.

    A second call of `start` or `step` with the same tiles must repair everything that an interrupted call changed. A
    batch that does not fit into memory is halved and tried again.

    Parameters
    ----------
    victim
        The model under attack. Its batch size is lowered permanently when memory runs out.
    rows
        (n,) positions of the tiles, in the order in which they start.
    start
        Function from positions to the state of these tiles, without tiles that are already done.
    step
        Function of one iteration, from a state to the next one, without tiles that are done.
    spent
        Function from a state to the share of its largest number of iterations that each tile has behind it, (n,) in
        [0, 1], for the headway. Default: a tile counts when it is done.

    Raises
    ------
    torch.OutOfMemoryError
        If not even one tile fits.
    """
    queue, parked = rows, list[Tiles]()
    state: Tiles | None = None
    looked = time.monotonic()
    while True:
        active = 0 if state is None else len(state.rows)
        done: float = len(rows) - len(queue) - active - sum(len(each.rows) for each in parked)
        if spent and state is not None and active and time.monotonic() - looked > MOMENT:
            looked = time.monotonic()
            done += float(spent(state).sum())
        headway.report(done)
        room = victim.batch_size - active
        short = False
        try:
            if state is not None and active and (room < REFILL * victim.batch_size or not (len(queue) or parked)):
                state = step(state)
            elif parked:
                taken, rest = _split(parked.pop(), room)
                parked += [rest] if len(rest.rows) else []
                state = _join(state, taken)
            elif len(queue):
                fresh = start(queue[:room])
                queue = queue[room:]
                state = _join(state, fresh)
            else:
                return
        except torch.OutOfMemoryError:
            if victim.batch_size == 1:
                raise
            short = True
        if short:  # Outside the handler, because its traceback keeps the memory in use.
            victim.halve_batch()
            if state is not None and active > victim.batch_size:
                state, rest = _split(state, victim.batch_size)
                parked.append(rest)


def map_batches(victim: Victim, rows: Tensor, work: Callable[[Tensor], None]) -> None:
    """Call a function once on all tiles, at most `victim.batch_size` at a time.

    A batch that does not fit into memory is halved and tried again, so `work` must store its results last.

    Parameters
    ----------
    victim
        The model under attack. Its batch size is lowered permanently when memory runs out.
    rows
        (n,) positions of the tiles.
    work
        Function of the positions of a batch.

    Raises
    ------
    torch.OutOfMemoryError
        If not even one tile fits.
    """
    queue = rows
    while len(queue):
        batch, short = queue[: victim.batch_size], False
        try:
            work(batch)
        except torch.OutOfMemoryError:
            if victim.batch_size == 1:
                raise
            short = True
        if short:  # Outside the handler, because its traceback keeps the memory in use.
            victim.halve_batch()
        else:
            queue = queue[len(batch) :]


def predict(victim: Victim, images: Tensor, rows: Tensor) -> Tensor:
    """Return the logits (n, classes) of images, computed batch by batch.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    rows
        (n,) positions of the tiles that the images belong to.
    """
    batches: list[Tensor] = []

    def compute(places: Tensor) -> None:
        with torch.no_grad():
            batches.append(victim.logits(images[places], rows[places]))

    map_batches(victim, torch.arange(len(rows), device=rows.device), compute)
    return torch.cat(batches)


def predict_clean(victim: Victim, images: Tensor) -> Tensor:
    """Return the logits (n, classes) of the unchanged tiles, without a pass if the victim knows them.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1]: all tiles of the victim.
    """
    return predict(victim, images, victim.rows()) if victim.clean_logits is None else victim.clean_logits


def keep(tiles: Tiles, mask: Tensor) -> Tiles:
    """Drop tiles from a state.

    Parameters
    ----------
    tiles
        State of the tiles.
    mask
        (n,) booleans, True for tiles that stay.
    """
    if bool(mask.all()):
        return tiles
    return _take(tiles, mask)


def _take(tiles: Tiles, which: Tensor | slice) -> Tiles:
    return replace(tiles, **{field.name: getattr(tiles, field.name)[which] for field in fields(tiles)})


def _split(tiles: Tiles, count: int) -> tuple[Tiles, Tiles]:
    return _take(tiles, slice(None, count)), _take(tiles, slice(count, None))


def _join(tiles: Tiles | None, others: Tiles) -> Tiles:
    if tiles is None or not len(tiles.rows):
        return others
    if not len(others.rows):
        return tiles
    both = {field.name: torch.cat([getattr(tiles, field.name), getattr(others, field.name)]) for field in fields(tiles)}
    return replace(tiles, **both)
