"""Metrics of a running experiment for Prometheus. Every process counts its own; Ray collects and exports them.

Labels are few and bounded: the run, the stage, the model's id in the experiment, and the attack's name. Nothing in this
module changes a result, and nothing is recorded where Ray does not run.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.util.metrics import Counter, Gauge, Histogram

from raypipe.execution.shards import ShardResult
from raypipe.plan.cells import Cell
from raypipe.progress.state import RunState
from raypipe.storage.schemas import ADVERSARIALS

CELL = ("run", "stage", "model", "attack")
L2 = [0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0]
"""Upper bounds of the buckets for the L2 norm of perturbations, with pixels in [0, 1]."""
SECONDS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]

Labels = dict[str, str]


@dataclass(frozen=True, eq=False)
class Metrics:
    """The metrics of a process; Prometheus sees each name with the prefix ``ray_``."""

    tiles: Counter
    attacked: Counter
    fooled: Counter
    forwards: Counter
    backwards: Counter
    distortion: Histogram
    shard_seconds: Histogram
    success_rate: Gauge
    training_loss: Gauge
    training_accuracy: Gauge
    validation_loss: Gauge
    validation_accuracy: Gauge
    epochs: Counter
    cells: Gauge
    gauge_values: dict[tuple[Gauge, tuple[str, ...]], tuple[float, Labels]] = field(default_factory=dict)

    def say(self, gauge: Gauge, value: float, labels: Labels) -> None:
        """Set a gauge, and remember its value for `repeat`."""
        self.gauge_values[gauge, tuple(labels.values())] = value, labels
        gauge.set(value, labels)

    def repeat(self) -> None:
        """Set all gauges again, because Ray forgets a gauge that is not set for a while."""
        for (gauge, _), (value, labels) in list(self.gauge_values.items()):
            gauge.set(value, labels)


@functools.cache
def get_metrics() -> Metrics:
    """Return the metrics of this process."""
    return Metrics(
        tiles=Counter("raypipe_tiles", "Tiles worked on.", CELL),
        attacked=Counter("raypipe_tiles_attacked", "Tiles that the model got right, and that were attacked.", CELL),
        fooled=Counter("raypipe_tiles_fooled", "Attacked tiles whose stored 8-bit image fools the model.", CELL),
        forwards=Counter("raypipe_forwards", "Forward passes of attacks, counted by tile.", CELL),
        backwards=Counter("raypipe_backwards", "Backward passes of attacks, counted by tile.", CELL),
        distortion=Histogram("raypipe_distortion_l2", "L2 of the stored perturbations that fool.", L2, CELL),
        shard_seconds=Histogram("raypipe_shard_seconds", "Seconds of the network on a shard of tiles.", SECONDS, CELL),
        success_rate=Gauge("raypipe_success_rate", "Share of attacked tiles that a finished cell fooled.", CELL),
        training_loss=Gauge("raypipe_training_loss", "Mean loss of the last epoch.", CELL),
        training_accuracy=Gauge("raypipe_training_accuracy", "Training accuracy of the last epoch.", CELL),
        validation_loss=Gauge("raypipe_validation_loss", "Mean loss on validation tiles after the last epoch.", CELL),
        validation_accuracy=Gauge(
            "raypipe_validation_accuracy", "Accuracy on validation tiles after the last epoch.", CELL
        ),
        epochs=Counter("raypipe_epochs", "Epochs trained.", CELL),
        cells=Gauge("raypipe_cells", "Cells of the run, by stage and state.", ("run", "stage", "state")),
    )


def get_labels(run: str, cell: Cell) -> Labels:
    """Return the labels that distinguish a cell's metrics from those of other cells."""
    attack = getattr(cell.spec, "attack", None)
    return {"run": run, "stage": cell.stage, "model": cell.model, "attack": attack.name if attack else ""}


def count_shard(labels: Labels, result: ShardResult, table: pa.Table) -> None:
    """Count a shard of tiles that was processed, and the attack on it if it was attacked.

    Parameters
    ----------
    table
        Table of the result shard.
    """
    if not ray.is_initialized():
        return
    registry = get_metrics()
    registry.tiles.inc(result.tiles, labels)
    registry.shard_seconds.observe(result.cost.seconds, labels)
    if not table.schema.equals(ADVERSARIALS):
        return
    counts = {
        registry.attacked: result.figures["attacked"],
        registry.fooled: result.figures["fooled"],
        registry.forwards: result.cost.forwards,
        registry.backwards: result.cost.backwards,
    }
    for counter, number in counts.items():
        if number:
            counter.inc(number, labels)
    for size in table.filter(table["success"])["l2"].to_pylist():
        registry.distortion.observe(size, labels)


def note_success(labels: Labels, rate: float | None) -> None:
    """Record the success rate of a finished attack cell."""
    if rate is not None and ray.is_initialized():
        get_metrics().say(get_metrics().success_rate, rate, labels)


def count_epochs(labels: Labels, epochs: int, last: Mapping[str, Any]) -> None:
    """Count epochs that were trained, and show the figures of the last one.

    The driver calls this function, because the gauges of a worker vanish when the worker ends.

    Parameters
    ----------
    last
        Fields of the last epoch's `raypipe.training.fit.EpochRecord`.
    """
    if not ray.is_initialized():
        return
    registry = get_metrics()
    registry.epochs.inc(epochs, labels)
    figures = {
        registry.training_loss: last["loss"],
        registry.training_accuracy: last["accuracy"],
        registry.validation_loss: last["validation_loss"],
        registry.validation_accuracy: last["validation_accuracy"],
    }
    for gauge, value in figures.items():
        if value is not None:
            registry.say(gauge, value, labels)


def note_cells(state: RunState) -> None:
    """Record how many cells are done, failed and still to do. The driver calls this every few seconds."""
    if not ray.is_initialized():
        return
    for stage in state.stages:
        whole = stage.whole
        waiting = whole.cells - whole.done - whole.failed
        for name, number in (("done", whole.done), ("failed", whole.failed), ("to do", waiting)):
            get_metrics().say(get_metrics().cells, number, {"run": state.run, "stage": stage.name, "state": name})
    get_metrics().repeat()
