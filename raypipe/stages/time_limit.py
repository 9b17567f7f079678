"""Number of epochs that fit into a time limit, from a short trial on a copy of the model."""

import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from raypipe.stages.workers import Worker
from raypipe.training.batch_statistics import MOST_PER_EPOCH
from raypipe.training.dataset import TileDataset
from raypipe.training.fit import Fit
from raypipe.training.objective import InputRule, Objective, StepLoss, unwrap_ddp
from raypipe.training.recipe import Recipe
from raypipe.training.validation import validate

TRIAL_STEPS = 4
"""Number of steps of each of the trial's two epochs. The first one warms up, and the second one is timed."""

END = 1 - 1e-6
"""Progress of a fit at its last step."""


def limit_epochs(
    seconds: float,
    model: nn.Module,
    recipe: Recipe,
    tiles: TileDataset,
    validation: TileDataset,
    batch_size: int,
    *,
    worker: Worker,
    objective: Objective,
    input_rule: InputRule | None,
    replays: int,
    score: Callable[[Any], float] | None,
) -> Recipe:
    """Return a recipe with as many epochs as fit into a time, at least 1 and at most those that it has.

    The steps are timed as at the end of the fit, where a rising radius makes them longest. Every worker calls this
    function, and all of them get the answer of the first one.

    Parameters
    ----------
    seconds
        Time that the fit may take, with its validations, in seconds.
    model
        The model, on the device. It does not change.
    recipe
        Recipe of the fit.
    tiles, validation
        This worker's training tiles and held-out tiles.
    batch_size
        Number of tiles per step of this worker.
    worker
        This worker.
    objective, input_rule, replays, score
        The fit's own, as in `raypipe.stages.fitting.fit_cell`.
    """

    def at_the_end(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> StepLoss:  # noqa: ARG001
        return objective(model, images, labels, END)

    few = min(len(tiles), TRIAL_STEPS * batch_size)
    sample = TileDataset(tiles.images[:few], tiles.labels[:few])
    with torch.random.fork_rng([worker.device] if worker.device.type == "cuda" else []):
        fit = Fit(
            deepcopy(unwrap_ddp(model)),
            recipe.model_copy(update={"epochs": 2}),
            TRIAL_STEPS,
            device=worker.device,
            seed=0,
            objective=at_the_end,
            input_rule=input_rule,
            replays=replays,
        )
        *_, record = fit.epochs(sample, batch_size)
        began = time.perf_counter()
        fit.recalibrate(tiles, MOST_PER_EPOCH // worker.world_size, worker.total)
        if len(validation):
            validate(fit.evaluated, validation, worker.device)
        if score and worker.rank == 0:
            score(fit.evaluated)
        validating = time.perf_counter() - began
    epoch = record.seconds * replays * len(tiles) / record.tiles + validating / recipe.validation_interval
    epochs = max(1, min(recipe.epochs, int(seconds / epoch)))
    shared = worker.total(torch.tensor(epochs if worker.rank == 0 else 0, dtype=torch.float64))
    return recipe.model_copy(update={"epochs": int(shared)})
