"""Parallel processing of items on Ray Data, either as tasks or in a pool of actors.

Nothing else competes with the workers for CPUs. The error of a failed worker names the item that it worked on.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

from raypipe.base.errors import StageError, describe_error, get_last_line
from raypipe.experiment.schema import Resources
from raypipe.stages.failures import find_root_cause
from raypipe.stages.placement import SHARE, find_room

NO_PROGRESS_SECONDS = 3600
"""Time limit without progress. One shard may take long; a pool that does not fit at all is refused before it starts."""

SHARDS_IN_FLIGHT = 2
"""Shards per actor at a time. An actor computes one shard while it reads and decodes the next, or writes the last."""

BLOCKS_A_WORKER = 16
"""Blocks of items per worker. Tasks take blocks, because Ray Data looks for finished ones only ten times a second. Each
worker gets many blocks, because items differ in their work and more workers may join."""

Item = dict[str, Any]
"""A flat record of numbers and strings: an item of work, or its result."""


def map_items(
    work: Callable[..., Item] | type,
    items: Sequence[Item],
    resources: Resources,
    *,
    name: str,
    setup: Mapping[str, Any] | None = None,
    at_once: int | None = None,
    grow: bool = False,
    on: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Item]:
    """Run `work` on every item in parallel over the cluster, and yield the results as they arrive.

    Parameters
    ----------
    work
        Function that runs as tasks, or class whose instances are called with an item in an actor pool. Tasks of
        consecutive stages share Ray's worker processes, which import PyTorch once. Every pool starts its own processes.
    items
        Flat records of numbers and strings.
    resources
        Resources whose `cpus_per_worker` and `gpu` give the size of a worker. Tasks never take a GPU.
    name
        Name of the operator on the Ray dashboard.
    setup
        Arguments of the class, or further arguments of the function.
    at_once
        Largest number of items in work; default: as many as the cluster has room for.
    grow
        True if nodes that join meanwhile get work too, and an autoscaler is asked for more nodes.
    on
        Custom resource of the nodes to work on; default: any node will do.
    say
        Receives messages about a wait for nodes, and about room for fewer workers.

    Raises
    ------
    StageError
        If an item fails; the message gives the cause.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_SECONDS
    context.raise_original_map_exception = True  # otherwise the only message is "UDF failed to process a data block"
    context.target_max_block_size = 1  # one byte, so that Ray Data hands on every row as soon as it exists
    if isinstance(work, type):
        size = min(len(items), find_room(resources, at_once, on=on, say=say))
        pool = ActorPoolStrategy(
            min_size=1,
            initial_size=size,
            max_size=min(len(items), at_once or len(items)) if grow else size,
            max_tasks_in_flight_per_actor=SHARDS_IN_FLIGHT,
        )
        blocks: list[Sequence[Item]] = [[item] for item in items]
        how: dict[str, Any] = {
            "compute": pool,
            "max_concurrency": SHARDS_IN_FLIGHT,
            "fn_constructor_kwargs": dict(setup or {}),
            "num_gpus": resources.gpus_per_worker,
        }
    else:
        size = find_room(resources.model_copy(update={"gpu": False}), at_once, on=on, say=say)
        blocks = cut_equal_blocks(items, BLOCKS_A_WORKER * size) if grow else cut_halving_blocks(items, size)
        how = {"compute": TaskPoolStrategy(size=at_once if grow else size), "fn_kwargs": dict(setup or {})}
    dataset = ray.data.from_arrow([pa.Table.from_pylist(block) for block in blocks]).map(
        _rename_worker(work, name), num_cpus=resources.cpus_per_worker, resources={on: SHARE} if on else None, **how
    )
    dataset.set_name(name)
    try:
        yield from dataset.iter_rows()
    except ray.exceptions.RayError as error:
        cause = find_root_cause(error)
        why = str(cause) if isinstance(cause, ItemError) else get_last_line(cause)
        raise StageError(f"{name} failed: {why}; finished work is kept, run again to continue") from cause


def cut_equal_blocks(items: Sequence[Item], count: int) -> list[Sequence[Item]]:
    """Return at most `count` blocks, whose sizes differ by at most one item."""
    bounds = [round(len(items) * number / count) for number in range(count + 1)]
    return [items[start:end] for start, end in itertools.pairwise(bounds) if start < end]


def cut_halving_blocks(items: Sequence[Item], workers: int) -> list[Sequence[Item]]:
    """Return blocks that shrink by half: each worker gets a block of half its share, then of a quarter, and so on.

    There are few blocks, and the last ones are small, so that no worker waits long for another.

    References
    ----------
    S. F. Hummel, E. Schonberg and L. E. Flynn, Factoring: a method for scheduling parallel loops, CACM 35(8), 1992.
    """
    blocks: list[Sequence[Item]] = []
    start = 0
    while start < len(items):
        size = -(-(len(items) - start) // (2 * workers))
        for _ in range(workers):
            blocks.append(items[start : start + size])
            start += size
    return [block for block in blocks if block]


class ItemError(ray.exceptions.UserCodeException):
    """The failure of work on an item. Its arguments are the reason and the item's cell name, empty if it has none.

    Ray Data takes any other exception for an error of its own, and asks the user to report it.
    """

    def __str__(self) -> str:
        why, cell = self.args
        why = why.splitlines()[0]  # Ray Data adds advice about retries to the other lines
        return f"{cell}: {why}" if cell else why


def build_item_error(error: Exception, cell: str) -> ItemError:
    """Return the failure of work on an item of a cell."""
    return ItemError(describe_error(error), cell)


def _rename_worker(work: Callable[..., Item] | type, name: str) -> Callable[..., Item] | type:
    """Return `work` under another name, with errors that name the item.

    Ray's dashboard and `ps` show the name of a worker's function or class, and Ray Data has no option for another one.
    So an actor's class gets a subclass of that name.
    """

    def name_item_in_errors(call: Callable[..., Item]) -> Callable[..., Item]:
        @functools.wraps(call)
        def process_item(*arguments: Any, **setup: Any) -> Item:
            try:
                return call(*arguments, **setup)
            except ItemError:
                raise
            except Exception as error:
                raise build_item_error(error, arguments[-1].get("cell", "")) from error

        return process_item

    name = name.replace(" ", "_")
    if isinstance(work, type):
        return type(name, (work,), {"__call__": name_item_in_errors(work.__call__)})
    task = name_item_in_errors(work)
    task.__name__ = name
    return task
