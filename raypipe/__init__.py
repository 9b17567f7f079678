"""raypipe: how easily is a medical image classifier fooled, and what does hardening it buy?

>>> import raypipe
>>> results = raypipe.run("jobs/demo.yaml")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from raypipe.version import __version__ as __version__

if TYPE_CHECKING:
    from raypipe.evaluation.results import RunResult


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
    raypipe.config.ConfigError
        If the file has errors; all of them are listed.
    """
    from raypipe.config import load_experiment  # noqa: PLC0415  importing raypipe alone stays fast
    from raypipe.stages.pipeline import run_experiment  # noqa: PLC0415

    return run_experiment(load_experiment(experiment, overrides), **options)
