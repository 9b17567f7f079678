"""The contest: every contestant in turn, and the figures of its images."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import Tensor

from benchmarks.attacks import peers
from benchmarks.attacks.contestants import FAMILIES, Contestant, Task
from benchmarks.attacks.guard import TimeUp, clean_afterwards, limited
from benchmarks.attacks.passes import PassCosts, PassLog, distances
from benchmarks.attacks.rows import EightBit, Row
from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.quantize import to_bytes, to_unit
from raypipe.base.norms import STORED_NORMS

COMPARED_WITH_SLOW = frozenset({"sparse_l0"})
"""Families without a slow contestant of their own that are compared with a slow contestant of another family."""


@dataclass(frozen=True)
class Rules:
    """The rules of the contest.

    Parameters
    ----------
    slow_tiles
        Number of tiles for slow contestants, which are the first tiles.
    repeats
        Largest number of rounds.
    enough
        CPU seconds after which a contestant takes part in no further round.
    time_limit
        CPU seconds after which a contestant is ended in a round.
    budget
        Passes per tile within which a perturbation counts for optimality.
    """

    slow_tiles: int = 6
    repeats: int = 3
    enough: float = 30.0
    time_limit: float = 240.0
    budget: int = 1000


def contest(
    victim: str, task: Task, entries: Iterable[Contestant], rules: Rules, stored: Tensor
) -> Iterator[tuple[int, Row]]:
    """Run the contest of one family.

    Parameters
    ----------
    victim
        Name of the model, for the rows.
    task
        All tiles of the task.
    entries
        Contestants of one family.
    rules
        Rules of the contest.
    stored
        Tiles (n, channels, h, w), uint8, as they are stored.

    Yields
    ------
    tuple of int and Row
        The round, from 0, and the row after this round.
    """
    entries = tuple(entries)
    lanes = [_Lane(victim, task, entry, count, rules, stored) for entry, count in _lanes(entries, len(task), rules)]
    costs = {count: _costs(task, count) for count in {lane.count for lane in lanes if lane.entry.ours}}
    for number in range(rules.repeats):
        for lane in lanes:
            if lane.takes_part:
                lane.run(costs.get(lane.count))
                yield number, lane.row


def _lanes(entries: Sequence[Contestant], tiles: int, rules: Rules) -> list[tuple[Contestant, int]]:
    """Return contestants with numbers of tiles; raypipe's own get both sets if there are slow ones to compare with."""
    few = min(rules.slow_tiles, tiles)
    any_slow = any(entry.slow or entry.attack in COMPARED_WITH_SLOW for entry in entries)
    lanes: list[tuple[Contestant, int]] = []
    for entry in entries:
        if not entry.slow:
            lanes.append((entry, tiles))
        if entry.slow or (entry.ours and any_slow and few < tiles):
            lanes.append((entry, min(few, entry.tiles or few)))
    return sorted(lanes, key=lambda lane: -lane[1])


def _costs(task: Task, count: int) -> PassCosts:
    return PassCosts(task.prepared.fast, task.images, min(task.prepared.batch_size, count))


class _Lane:
    """A contestant with its tiles over all rounds."""

    def __init__(self, victim: str, task: Task, entry: Contestant, count: int, rules: Rules, stored: Tensor) -> None:
        self.task = task.take(slice(count))
        self.stored = stored[:count]
        self.entry, self.count, self.rules = entry, count, rules
        self.row = Row(victim, entry.attack, entry.library, entry.label, count, dict(entry.parameters))
        self.spent = 0.0

    @property
    def takes_part(self) -> bool:
        return self.row.error is None and self.spent < self.rules.enough

    def run(self, costs: PassCosts | None) -> None:
        """Run one round."""
        task, entry = self.task, self.entry
        log = PassLog(task.images, task.labels, FAMILIES[entry.attack], self.rules.budget)
        try:
            peers.load(entry.library)
            with clean_afterwards(task.model), log.watching(task.model, task.prepared.fast):
                begun = time.process_time()
                images, cut_off = _produce(entry, task, self.rules.time_limit)
                seconds = time.process_time() - begun - log.overhead
            _check(images, task)
        except Exception as error:  # noqa: BLE001  foreign code; a contestant's failure is a result too
            self.row.error = f"{type(error).__name__}: {error}"
            return
        self.spent += seconds
        self.row.milliseconds.append(1000 * seconds / self.count)
        if self.row.images is None:
            self._judge(images, cut_off, log)
        if entry.ours and costs is not None:
            costs.refresh()
            self.row.floor.append(1000 * costs.at_full_batch(log.calls) / self.count)
            self.row.passes_alone.append(1000 * costs.as_made(log.calls) / self.count)

    def _judge(self, images: Tensor, cut_off: list[int], log: PassLog) -> None:
        task, row = self.task, self.row
        row.images, row.cut_off = images, len(cut_off)
        row.forwards = log.count("forward", "predict") / self.count
        row.backwards = log.count("backward") / self.count
        with torch.no_grad():
            predicted = task.model(images).argmax(1)
            rounded = task.model(to_unit(to_bytes(images))).argmax(1)
        finished = torch.ones(self.count, dtype=torch.bool)
        finished[cut_off] = False
        row.success = ((predicted != task.labels) & finished).tolist()
        row.success8 = ((rounded != task.labels) & finished).tolist()
        row.on_target = float(((predicted == task.targets) & finished).float().mean())
        row.l0, row.l2, row.linf = (distances(images, task.images, norm).tolist() for norm in STORED_NORMS)
        row.within_budget = log.best.tolist()
        if self.entry.settings is not None:
            row.settings = self.entry.settings().model_dump(mode="json")
            row.batch_size = min(task.prepared.batch_size, self.count)
            row.eight_bit = self._finished()

    def _finished(self) -> EightBit:
        if self.entry.settings is None:
            raise TypeError(f"{self.entry.label} is not raypipe's")
        begun = time.process_time()
        pixels = self.stored.permute(0, 2, 3, 1).contiguous().numpy()
        made = generate(self.task.prepared, pixels, self.task.labels.numpy(), self.entry.settings())
        seconds = time.process_time() - begun
        again = torch.from_numpy(made.images).permute(0, 3, 1, 2).contiguous()
        with torch.no_grad():
            success = self.task.model(to_unit(again)).argmax(1) != self.task.labels
        lengths = distances(to_unit(again), to_unit(self.stored), "l2")[success].tolist()
        largest = distances(to_unit(again), to_unit(self.stored), "linf")[success].tolist()
        return EightBit(
            success=float(success.float().mean()),
            l2_mean=float(np.mean(lengths)) if lengths else None,
            l2_median=median(lengths) if lengths else None,
            linf_max=max(largest, default=None),
            milliseconds=1000 * seconds / self.count,
            forwards=float(made.forwards.mean()),
            backwards=float(made.backwards.mean()),
        )


def _produce(entry: Contestant, task: Task, limit: float) -> tuple[Tensor, list[int]]:
    """Return the images, and the positions of the tiles that the time limit ended; those images are clean.

    Raises
    ------
    TimeoutError
        If all tiles are passed at once and the limit ends them all.
    """
    if not entry.one_by_one:
        try:
            with limited(limit):
                return entry.run(task), []
        except TimeUp:
            raise TimeoutError(f"not done after {limit:.0f} CPU seconds for {len(task)} tiles") from None
    made, cut_off, begun = task.images.clone(), [], time.process_time()
    for position in range(len(task)):
        left = limit - (time.process_time() - begun)
        try:
            with limited(left / (len(task) - position)):
                made[position] = entry.run(task.take(slice(position, position + 1)))[0]
        except TimeUp:
            cut_off.append(position)
    return made, cut_off


def _check(images: Tensor, task: Task) -> None:
    if images.shape != task.images.shape or not bool(images.isfinite().all()):
        raise ValueError(f"returned {tuple(images.shape)}: expected finite images {tuple(task.images.shape)}")
    low, high = float(images.min()), float(images.max())
    if low < -1e-6 or high > 1 + 1e-6:
        raise ValueError(f"returned pixels from {low:.4g} to {high:.4g}: expected 0..1")
