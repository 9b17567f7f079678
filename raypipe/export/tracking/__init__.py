"""The results of a run for other programs, by the scheme of a URI. To add a program, add its file and its line here."""

from types import ModuleType

from raypipe.base.tracking import require_tracking_address
from raypipe.evaluation.results.compute import RunResult
from raypipe.evaluation.results.run import Run
from raypipe.export.tracking import mlflow, tensorboard
from raypipe.storage.store import Store

TRACKERS: dict[str, ModuleType] = {tensorboard.SCHEME: tensorboard}


def track(run: Run, result: RunResult, store: Store, uri: str) -> None:
    """Log a run's settings, figures and records to another program.

    Parameters
    ----------
    uri
        ``tensorboard:FOLDER``, or else the address of an MLflow server, or ``file:FOLDER`` for its files.

    Raises
    ------
    raypipe.base.errors.StageError
        If the target cannot be reached or written, or a package is not installed.
    ValueError
        If no program takes the address.
    """
    require_tracking_address(uri)
    _tracker(uri).log_run(run, result, store, uri)


def require_tracker(uri: str) -> None:
    """Require an address that a program takes, and the package that it needs.

    Raises
    ------
    raypipe.base.errors.StageError
        If the package is not installed.
    ValueError
        If no program takes the address.
    """
    require_tracking_address(uri)
    _tracker(uri).require()


def _tracker(uri: str) -> ModuleType:
    return next((tracker for scheme, tracker in TRACKERS.items() if uri.startswith(scheme)), mlflow)
