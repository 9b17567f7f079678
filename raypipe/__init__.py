"""raypipe: how easily is a medical image classifier fooled, and what does hardening it buy?

>>> import raypipe
>>> results = raypipe.run("jobs/demo.yaml")  # doctest: +SKIP
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raypipe.base.version import __version__ as __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from raypipe.attacks.engine.generate import Adversarials
    from raypipe.evaluation.results.compute import RunResult


def run(experiment: str, overrides: tuple[str, ...] = (), **options: Any) -> "RunResult":
    """Run an experiment file and return its results; what is already in its store is not computed again.

    Parameters
    ----------
    experiment
        Path of the experiment's YAML file.
    overrides
        Settings to replace, as on the command line: ``("train.epochs=3",)``.
    options
        Passed on to `raypipe.stages.pipeline.run_experiment`, such as ``address``.

    Returns
    -------
    RunResult
        The records of the run (one row per cell and column) and where they are stored.

    Raises
    ------
    raypipe.experiment.load.ConfigError
        If the file has errors; all of them are listed.
    """
    from raypipe.experiment.load import load_experiment  # noqa: PLC0415  importing raypipe alone stays fast
    from raypipe.stages.pipeline import run_experiment  # noqa: PLC0415

    return run_experiment(load_experiment(experiment, overrides), **options)


def attack(
    model: "nn.Module",
    images: "NDArray[np.uint8]",
    labels: "NDArray[np.integer]",
    name: str,
    *,
    classes: Sequence[str] | None = None,
    batch_size: int | None = None,
    **settings: Any,
) -> "Adversarials":
    """Attack a model on tiles that are at hand, in this process and on the device that the model is on.

    Parameters
    ----------
    model
        Images (n, 3, h, w), float32 in [0, 1], in; logits (n, classes) out. It is given back as it was.
    images
        (n, h, w, 3), uint8.
    labels
        (n,) true classes, from 0.
    name
        Of the attack, in `raypipe.attacks.ATTACKS`; with ``backend="art"``, of one of the toolbox.
    classes
        Names of the model's classes; default: their numbers.
    batch_size
        Tiles at once; default: found by trial.
    settings
        Of the attack, such as ``eps=4/255``.

    Returns
    -------
    Adversarials
        The adversarial tiles as 8-bit images, and for each whether it fools the model and what it took.

    Raises
    ------
    raypipe.experiment.load.ConfigError
        If there is no such attack or setting; all errors are listed.
    ValueError
        If model, images and labels do not fit.
    """
    from raypipe.standalone.calls import attack as call  # noqa: PLC0415

    return call(model, images, labels, name, classes=classes, batch_size=batch_size, settings=settings)


def evaluate(
    model: "nn.Module",
    images: "NDArray[np.uint8]",
    labels: "NDArray[np.integer]",
    attacks: "Iterable[str] | Mapping[str, Any]" = ("deepfool",),
    *,
    to: str,
    name: str = "model",
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    batch_size: int | None = None,
    **settings: Any,
) -> "RunResult":
    """Judge a model on tiles that are at hand as a run judges each of its own: attacks, worst case, sanity checks.

    Whatever needs other models is left out: tiles made against the model before it was hardened, or against others.

    Parameters
    ----------
    model, images, labels, classes, batch_size
        As for `attack`.
    attacks
        Names, or settings by id, as in the section ``evaluation.attacks`` of an experiment. AutoAttack's ensemble
        is run besides them, at every radius of ``curves`` and of the bounded attacks named here.
    to
        A folder for everything that is made: tables and results, as a store of one run. A new one, or that of an
        earlier call for a model of this name: what that finished is not computed again.
    name
        Of the model in them.
    groups
        (n,) the source tile or patient of each tile, since siblings are no independent evidence; default: each its own.
    settings
        Other settings of the section ``evaluation``: ``curves={"linf": [4/255]}``, ``checks={"eps": 4/255}``.

    Returns
    -------
    RunResult
        Its tables: ``records`` with 95 % intervals, ``checks``, ``curves``, ``costs``.

    Raises
    ------
    raypipe.experiment.load.ConfigError
        If settings are wrong; all errors are listed.
    FileExistsError
        If something else is in the folder.
    ValueError
        If model, images and labels do not fit.
    """
    from raypipe.standalone.calls import evaluate as call  # noqa: PLC0415

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
    )
