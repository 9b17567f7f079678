"""Fits side by side: each cell in one process, and as many at the same time as there is room for."""

import threading
from collections.abc import Callable, Mapping, Sequence

import torch

from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell
from raypipe.stages.ray_map import Item, map_items
from raypipe.stages.worker_group import FitOne
from raypipe.stages.workers import SoleWorker
from raypipe.storage.store import Store


def fit_side_by_side(
    fit: FitOne, cells: Sequence[Cell], store: Store, resources: Resources, say: Callable[[str], None]
) -> None:
    """Fit and publish cells, each in one process, as tasks, or as actors if they have GPUs.

    A fit whose process is lost starts again, because it keeps no checkpoints.

    Parameters
    ----------
    fit
        Function that fits and publishes one cell.
    say
        Receives messages about a wait for nodes, and about room for fewer processes.

    Raises
    ------
    raypipe.base.errors.StageError
        If a fit fails, or no process fits on the cluster.
    """
    results = map_items(
        FitActor if resources.gpu else fit_item,
        [{"cell": cell.name} for cell in cells],
        resources,
        name=cells[0].stage,
        setup={"fit": fit, "cells": {cell.name: cell for cell in cells}, "store": store, "resources": resources},
        on=resources.train_on,
        say=say,
    )
    for _ in results:
        pass


class FitActor:
    """A process that fits one cell after the other.

    Parameters
    ----------
    fit
        Function that fits and publishes one cell.
    cells
        All cells, by name.
    store
        Store of tiles and models.
    resources
        Resources of the experiment.
    """

    def __init__(self, fit: FitOne, cells: Mapping[str, Cell], store: Store, resources: Resources) -> None:
        torch.set_num_threads(max(1, int(resources.cpus_per_worker)))
        self.fit, self.cells, self.store, self.resources = fit, cells, store, resources
        self.worker = SoleWorker(resources.gpu)
        self.turn = threading.Lock()  # a pool hands out two items at once

    def __call__(self, item: Item) -> Item:
        """Fit the cell of an item, unless an earlier attempt has published it."""
        cell = self.cells[item["cell"]]
        with self.turn:
            if not cell.manifest(self.store):
                self.fit(cell, self.store, self.worker, self.resources.loader_workers)
        return item


def fit_item(item: Item, fit: FitOne, cells: Mapping[str, Cell], store: Store, resources: Resources) -> Item:
    """Fit the cell of an item in a task."""
    return FitActor(fit, cells, store, resources)(item)
