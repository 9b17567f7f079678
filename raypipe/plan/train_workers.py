"""The choice of a number of training workers: trainings side by side, or DDP within one where it pays."""

import math
from typing import NamedTuple

SHORT_STEP = 2**15
"""Pixels of a worker's share of a step at which a second worker gains nothing. The gain was measured with ResNet-18 on
2 CPU cores: 2 workers are 1.21 times as fast as one at 2**16 pixels (32 tiles of 64 pixels in a step), 1.44 times at
2**17, 1.63 times at 2**18 and 1.87 times with 32 tiles of 224 pixels (benchmarks/results)."""
GAIN_PER_DOUBLING = 0.2
MOST_GAIN = 0.9
"""Largest share of a further worker that DDP turns into speed."""
FEWEST_TILES = 4
"""Fewest tiles of a worker's share of a step, whose statistics batch normalization can use."""


class TrainWorkers(NamedTuple):
    """A number of DDP workers, or 0 for trainings side by side, and the reason."""

    workers: int
    reason: str


def choose_train_workers(trainings: int, room: int, batch_size: int, size: int) -> TrainWorkers:
    """Return the number of workers that finishes all trainings first, by an estimate.

    Parameters
    ----------
    trainings
        Number of models to train, at least 1.
    room
        Number of workers that can run at once, at least 1.
    batch_size
        Number of tiles per step, over all workers together.
    size
        Height and width of the tiles, in pixels.
    """
    together = min(trainings, room)
    rounds = math.ceil(trainings / room)
    workers = max(range(1, room + 1), key=lambda count: estimate_speedup(count, batch_size, size))
    speedup = estimate_speedup(workers, batch_size, size)
    if together > 1 and rounds <= trainings / speedup:
        return TrainWorkers(0, f"{together} of {trainings} models at a time, each in one process")
    if workers > 1:
        return TrainWorkers(
            workers, f"each model by {workers} workers, which should be {speedup:.1f} times as fast as one"
        )
    why = "there is room for no more" if room == 1 else f"steps of {batch_size} tiles of {size} pixels are too short"
    return TrainWorkers(1, f"one worker: {why}")


def estimate_speedup(workers: int, batch_size: int, size: int) -> float:
    """Return how many times as fast as one worker a group of DDP workers is, by measurements on CPUs.

    It is 0 for more workers than the tiles of a step allow.
    """
    if workers == 1:
        return 1.0
    if batch_size < FEWEST_TILES * workers:
        return 0.0
    pixels = batch_size / workers * size**2
    gain = min(MOST_GAIN, max(0.0, GAIN_PER_DOUBLING * math.log2(pixels / SHORT_STEP)))
    return 1 + gain * (workers - 1)
