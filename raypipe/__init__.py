"""Measure how easily a medical image classifier is fooled, and how much a defense helps.

>>> import raypipe
>>> results = raypipe.run("jobs/demo.yaml")  # doctest: +SKIP
>>> results.to_pandas()  # doctest: +SKIP
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raypipe.base.version import __version__ as __version__

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from raypipe.attacks.engine.generate import Adversarials
    from raypipe.data.arrays import Images
    from raypipe.models.foreign.black_box import Function
    from raypipe.progress.callback import ProgressCallback
    from raypipe.progress.stage import Detail
    from raypipe.report.results import Results


def run(
    experiment: "str | Path",
    overrides: Sequence[str] = (),
    *,
    address: str | None = None,
    force: bool = False,
    detail: "Detail" = "normal",
    progress: "ProgressCallback | None" = None,
) -> "Results":
    """Run an experiment file and return its results; cached results in its store are reused.

    Parameters
    ----------
    experiment
        Path of the experiment's YAML file.
    overrides
        Settings to replace, as on the command line: ``("train.epochs=3",)``.
    address
        Address of a Ray cluster; default: that of ``RAY_ADDRESS``, or a local Ray.
    force
        True to compute every cell again, and replace the ones that the store has.
    detail
        Amount of text: ``quiet``, ``normal`` or ``verbose``. In a notebook, a bar takes the place of the text.
    progress
        Function that is called with a `raypipe.progress.callback.Progress` each time something is done. An exception
        that it raises ends the run; finished results are kept. Default: a bar in a notebook, nothing elsewhere.

    Returns
    -------
    Results
        The results of the run, as `load` returns them.

    Raises
    ------
    raypipe.base.errors.ConfigError
        If the file has errors; all of them are listed.
    raypipe.base.errors.StageError
        If a stage fails. Finished results are kept, and the same call continues from there.
    """
    from rich.console import Console  # noqa: PLC0415  keeps `import raypipe` fast

    from raypipe.experiment.load import load_experiment  # noqa: PLC0415
    from raypipe.progress.notebook import choose_callback, is_notebook  # noqa: PLC0415
    from raypipe.stages.pipeline import run_experiment  # noqa: PLC0415

    settings = load_experiment(experiment, overrides)
    run_experiment(
        settings,
        address=address,
        console=Console(quiet=is_notebook()),
        force=force,
        detail=detail,
        callback=choose_callback(progress),
    )
    return load(settings.name, settings.storage)


def load(run: "str | Path", storage: "str | Path | None" = None) -> "Results":
    """Load the results of an earlier run of an experiment or an evaluation, in this process and without Ray.

    Parameters
    ----------
    run
        Name of the run, the path of its folder or of its report, or the path of a store with a single run, such as the
        folder of ``raypipe evaluate --out``. A path may be a URI.
    storage
        Store of the named run: a folder, or a URI such as ``s3://bucket/path``. Default: ``results``.

    Returns
    -------
    Results
        ``to_pandas()`` is a summary of one row per model. ``records`` has 95 % intervals for every model and attack,
        ``checks`` the sanity checks; ``curves``, ``differences``, ``certified`` and ``costs`` are Arrow tables too.
        ``tiles()`` has a row for each model and tile, ``figure()`` and ``plot()`` draw, ``report()`` writes the report,
        and ``conclusion`` and ``stamps`` say what the figures mean.

    Raises
    ------
    FileNotFoundError
        If there is no finished run of that name or at that path. The message lists the existing runs.
    raypipe.base.errors.UserError
        If a newer raypipe wrote the run, or the run is damaged.
    """
    from raypipe.evaluation.results.locate import locate_run  # noqa: PLC0415
    from raypipe.report.results import Results  # noqa: PLC0415

    store, name = locate_run(run, storage)
    return Results.load(name, store)


def attack(
    model: "nn.Module | Function",
    images: "Images",
    labels: "NDArray[np.integer] | Tensor | Sequence[int]",
    name: str,
    *,
    classes: Sequence[str] | None = None,
    batch_size: int | None = None,
    **settings: Any,
) -> "Adversarials":
    """Attack a model on tiles in memory, in this process and on the model's device.

    Parameters
    ----------
    model
        Module from images (n, 3, h, w), float32 in [0, 1], to logits (n, classes). It is returned to its former state.
        Or a function from such a NumPy array to an array of logits or probabilities, for a model of JAX or Keras: it
        has no gradients, so that only black-box attacks such as ``square`` work on it.
    images
        NumPy array or PyTorch tensor, (n, h, w, 3) or (n, 3, h, w), uint8 or floats in [0, 1]. Floats must be levels of
        8-bit images, k/255, from which attacks start.
    labels
        (n,) true classes, 0 to classes - 1.
    name
        Name of the attack in `raypipe.attacks.ATTACKS`, or in the toolbox with ``backend="art"``.
    classes
        Names of the model's classes; default: their numbers.
    batch_size
        Tiles per pass; default: found by trial.
    settings
        Settings of the attack, such as ``eps=4/255``.

    Returns
    -------
    Adversarials
        The adversarial tiles as 8-bit images, with success, forward passes and backward passes of each.

    Raises
    ------
    raypipe.base.errors.ConfigError
        If there is no such attack or setting; all errors are listed.
    ValueError
        If model, images and labels do not fit.
    """
    from raypipe.execution.python_api import attack as call  # noqa: PLC0415

    return call(model, images, labels, name, classes=classes, batch_size=batch_size, settings=settings)


def evaluate(
    model: "nn.Module | Function",
    images: "Images",
    labels: "NDArray[np.integer] | Tensor | Sequence[int]",
    attacks: "Iterable[str] | Mapping[str, Any]" = ("deepfool",),
    *,
    to: str,
    name: str = "model",
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    batch_size: int | None = None,
    progress: "ProgressCallback | None" = None,
    **settings: Any,
) -> "Results":
    """Evaluate a model on tiles in memory as a run evaluates its models: attacks, worst case, sanity checks.

    Static evaluation and transfer attacks are left out, because they need other models.

    Parameters
    ----------
    model, images, labels, classes, batch_size
        Arguments as in `attack`.
    attacks
        Names, or settings by id, as in the section ``evaluation.attacks`` of an experiment. AutoAttack's ensemble runs
        in addition, at every radius of ``curves`` and of the bounded attacks named here.
    to
        Folder for all tables, results and the report: a store as that of a run. It is new, or an earlier store, whose
        finished results are reused.
    name
        Name of the model in the results, and of the run.
    groups
        (n,) source tile or patient of each tile, because tiles of one group are no independent evidence; default: each
        its own.
    progress
        Function that is called with the progress, as in `run`.
    settings
        Other settings of the section ``evaluation``: ``curves={"linf": [4/255]}``, ``checks={"eps": 4/255}``.

    Returns
    -------
    Results
        The results of the run, as `load` returns them.

    Raises
    ------
    raypipe.base.errors.ConfigError
        If settings are wrong; all errors are listed.
    FileExistsError
        If the folder holds something else, has a run of an experiment with this name, or has results of a module with
        the same state and other logits.
    ValueError
        If model, images and labels do not fit.
    raypipe.base.errors.StageError
        If an attack fails. Finished results are kept, and the same call continues from there.
    """
    from raypipe.execution.python_api import evaluate as call  # noqa: PLC0415

    return call(
        model,
        images,
        labels,
        attacks,
        to=to,
        name=name,
        classes=classes,
        groups=groups,
        batch_size=batch_size,
        settings=settings,
        progress=progress,
    )
