"""The implementation of `raypipe.attack` and `raypipe.evaluate` for arrays and any PyTorch module."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from raypipe.attacks import AttackSettings
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.generate import Adversarials
from raypipe.base.settings import fill_in_names
from raypipe.evaluation.results.compute import RunResult
from raypipe.evaluation.settings import Evaluation
from raypipe.experiment.load import validate_settings
from raypipe.standalone.attack import attack_tiles, logits_given
from raypipe.standalone.evaluate import evaluate_model, run_name
from raypipe.standalone.models import GivenModel, key_of
from raypipe.standalone.tiles import tiles_of
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
    chosen: NamedAttack = validate_settings(AttackSettings, {"name": name, **settings}, "attack")
    tiles = tiles_of(images, labels, classes or _numbered(model, images))
    return attack_tiles(model, tiles, chosen, batch_size).made


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
) -> RunResult:
    """Evaluate a model on tiles in memory; see `raypipe.evaluate`."""
    chosen = fill_in_names(attacks if isinstance(attacks, Mapping) else list(attacks))
    evaluation: Evaluation = validate_settings(
        Evaluation, {"attacks": chosen, "transfer": False, **settings}, "evaluation"
    )
    tiles = tiles_of(images, labels, classes or _numbered(model, images), groups)
    given = GivenModel(model, name, type(model).__name__, tiles.labels, None, key_of(model))
    return evaluate_model(given, tiles, evaluation, store_for(Path(to), name), batch_size=batch_size)


def _numbered(model: nn.Module, images: NDArray[np.uint8]) -> list[str] | None:
    """Return numbers as names of a model's classes; None if `images` are no tiles, which later code reports."""
    if images.dtype != np.uint8 or images.ndim != 4:
        return None
    _, height, width, channels = images.shape
    return [str(number) for number in range(logits_given(model, (channels, height, width)))]


def require_new(folder: Path) -> None:
    """Raise an error if a folder is not empty.

    Raises
    ------
    FileExistsError
        If the folder is not empty, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not empty: give the name of a new folder")


def store_for(folder: Path, model: str) -> Store:
    """Open a store in a folder that is new or empty, or that holds only earlier results of this model.

    Parameters
    ----------
    model
        Name of the model.

    Raises
    ------
    FileExistsError
        If the folder holds something else.
    """
    runs = folder / "runs"
    others = [path for path in runs.iterdir() if path.name != run_name(model)] if runs.is_dir() else []
    if others or not (folder / "artifacts").is_dir():
        require_new(folder)
    return Store.open(str(folder.absolute()))
