"""The implementation of `raypipe.attack` and `raypipe.evaluate` for arrays and any PyTorch module."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from raypipe.attacks import AttackSettings
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.generate import Adversarials, generate
from raypipe.attacks.engine.prepare import prepare
from raypipe.base.settings import fill_in_names
from raypipe.data.arrays import open_arrays
from raypipe.evaluation.settings import Evaluation
from raypipe.execution.evaluate_model import evaluate_model
from raypipe.execution.import_model import Shape, count_logits, find_device, require_classes
from raypipe.execution.tile_set import TileSet
from raypipe.experiment.load import validate_settings
from raypipe.models.finished_model import wrap_module
from raypipe.plan.listing import list_test_tiles
from raypipe.report.results import Results
from raypipe.storage.store import Store


def attack(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    name: str,
    *,
    classes: Sequence[str] | None,
    batch_size: int | None,
    settings: Mapping[str, Any],
) -> Adversarials:
    """Attack a model on tiles in memory; see `raypipe.attack`."""
    attack_settings: NamedAttack = validate_settings(AttackSettings, {"name": name, **settings}, "attack")
    source = open_arrays(images, labels, classes or _number_classes(model, images))
    require_classes(model, _get_shape(images), source.labels)
    prepared = prepare(model, _get_shape(images), device=find_device(model), batch_size=batch_size)
    return generate(prepared, images, source.truth, attack_settings)


def evaluate(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    attacks: Iterable[str] | Mapping[str, Any],
    *,
    to: str,
    name: str,
    classes: Sequence[str] | None,
    groups: Sequence[str] | None,
    batch_size: int | None,
    settings: Mapping[str, Any],
) -> Results:
    """Evaluate a model on tiles in memory; see `raypipe.evaluate`."""
    attack_settings = fill_in_names(attacks if isinstance(attacks, Mapping) else list(attacks))
    evaluation: Evaluation = validate_settings(
        Evaluation, {"attacks": attack_settings, "transfer": False, **settings}, "evaluation"
    )
    source = open_arrays(images, labels, classes or _number_classes(model, images), groups)
    tiles = TileSet(list_test_tiles(source, source.list()), "", None, _get_shape(images))
    store, silent = open_results(Path(to)), Console(quiet=True)
    finished_model = wrap_module(model, name, source.labels)
    run, result, _ = evaluate_model(
        finished_model, tiles, evaluation, store, batch_size=batch_size, console=silent, detail="quiet"
    )
    return Results.from_run(run, result, store)


def _get_shape(images: NDArray[np.uint8]) -> Shape:
    _, height, width, channels = images.shape
    return channels, height, width


def _number_classes(model: nn.Module, images: NDArray[np.uint8]) -> list[str] | None:
    """Return numbers as names of a model's classes; None if `images` are no tiles, which later code reports."""
    if images.dtype != np.uint8 or images.ndim != 4:
        return None
    return [str(number) for number in range(count_logits(model, _get_shape(images)))]


def require_new(folder: Path) -> None:
    """Raise an error if a folder is not empty.

    Raises
    ------
    FileExistsError
        If the folder is not empty, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not empty: give the name of a new folder")


def open_results(folder: Path) -> Store:
    """Open a store in a folder that is new or empty, or that is a store already.

    Raises
    ------
    FileExistsError
        If the folder holds something else.
    """
    if not (folder / "artifacts").is_dir():
        require_new(folder)
    return Store.open(str(folder.absolute()))
