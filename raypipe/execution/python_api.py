"""The implementation of `raypipe.attack` and `raypipe.evaluate` for arrays and any PyTorch module."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from raypipe.attacks import AttackSettings
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.generate import Adversarials, generate
from raypipe.attacks.engine.prepare import prepare
from raypipe.base.places import require_local, require_writable_folder
from raypipe.base.settings import fill_in_names
from raypipe.data.arrays import ArraySource, Images, open_arrays, read_images
from raypipe.evaluation.settings import Evaluation
from raypipe.execution.adapt_network import Shape, adapt_network, find_device, use_adapted
from raypipe.execution.evaluate_model import evaluate_model
from raypipe.execution.missing_gradients import warn_of_missing_gradients
from raypipe.execution.probe_inputs import report_preprocessing
from raypipe.execution.tile_set import TileSet
from raypipe.experiment.load import validate_settings
from raypipe.models.finished_model import FinishedModel, wrap_module
from raypipe.models.foreign.black_box import BlackBox, Function
from raypipe.plan.files import list_test_tiles
from raypipe.progress.callback import ProgressCallback
from raypipe.progress.notebook import choose_callback
from raypipe.report.results import Results
from raypipe.storage.store import Store


def attack(
    model: nn.Module | Function,
    images: Images,
    labels: NDArray[np.integer] | Tensor | Sequence[int],
    name: str,
    *,
    classes: Sequence[str] | None,
    batch_size: int | None,
    settings: Mapping[str, Any],
) -> Adversarials:
    """Attack a model on tiles in memory; see `raypipe.attack`."""
    attack_settings: NamedAttack = validate_settings(AttackSettings, {"name": name, **settings}, "attack")
    finished, source = _open(model, images, labels, name, classes)
    device = find_device(finished.network)
    images = source.images
    prepared = prepare(finished.network, _get_shape(images), device=device, batch_size=batch_size)
    result = generate(prepared, images, source.truth, attack_settings)
    attacked = result.clean_prediction == source.truth
    warn_of_missing_gradients(
        prepared, images, source.truth, attacked=attacked, success=result.success, settings=attack_settings
    )
    return result


def evaluate(
    model: nn.Module | Function,
    images: Images,
    labels: NDArray[np.integer] | Tensor | Sequence[int],
    attacks: Iterable[str] | Mapping[str, Any],
    *,
    to: str,
    name: str,
    classes: Sequence[str] | None,
    groups: Sequence[str] | None,
    batch_size: int | None,
    settings: Mapping[str, Any],
    progress: ProgressCallback | None = None,
) -> Results:
    """Evaluate a model on tiles in memory; see `raypipe.evaluate`."""
    attack_settings = fill_in_names(attacks if isinstance(attacks, str | Mapping) else list(attacks))
    evaluation: Evaluation = validate_settings(
        Evaluation, {"attacks": attack_settings, "transfer": False, **settings}, "evaluation"
    )
    finished_model, source = _open(model, images, labels, name, classes, groups)
    tiles = TileSet(list_test_tiles(source, source.list()), "", None, _get_shape(source.images))
    store, silent = open_results(Path(to)), Console(quiet=True)
    run, result, _ = evaluate_model(
        finished_model,
        tiles,
        evaluation,
        store,
        batch_size=batch_size,
        console=silent,
        detail="quiet",
        callback=choose_callback(progress),
    )
    return Results.from_run(run, result, store)


def _get_shape(images: NDArray[np.uint8]) -> Shape:
    _, height, width, channels = images.shape
    return channels, height, width


def _open(
    model: nn.Module | Function,
    images: Images,
    labels: NDArray[np.integer] | Tensor | Sequence[int],
    name: str,
    classes: Sequence[str] | None,
    groups: Sequence[str] | None = None,
) -> tuple[FinishedModel, ArraySource]:
    """Return a module in memory as a model that attacks can use, and the tiles as a data set."""
    tiles = read_images(images)
    if not isinstance(model, nn.Module) and callable(model):
        model = BlackBox(model)
    adapted = adapt_network(model, _get_shape(tiles))
    source = open_arrays(tiles, labels, classes or [str(number) for number in range(adapted.classes)], groups)
    finished = use_adapted(wrap_module(model, name, source.labels), adapted, source.labels)
    report_preprocessing(finished, tiles, source.truth)
    return finished, source


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
    PermissionError
        If the folder cannot be written.
    ValueError
        If it is a URI.
    """
    folder = require_local(folder)
    require_writable_folder(folder)
    if not (folder / "artifacts").is_dir():
        require_new(folder)
    return Store.open(str(folder.absolute()))
