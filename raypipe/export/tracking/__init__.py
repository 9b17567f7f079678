"""Results for other programs, by the scheme of an address. To add one: a file with its functions, and its line here."""

from types import ModuleType

from raypipe.evaluation.results.compute import RunResult
from raypipe.evaluation.results.run import Run
from raypipe.export.tracking import mlflow, tensorboard
from raypipe.storage.store import Store

TRACKERS: dict[str, ModuleType] = {tensorboard.SCHEME: tensorboard}


def track(run: Run, result: RunResult, store: Store, uri: str) -> None:
    """Log a run elsewhere: its settings, its figures, its records.

    Parameters
    ----------
    uri
        ``tensorboard:FOLDER``; whatever else is taken for the address of an MLflow server, or ``file:FOLDER``.

    Raises
    ------
    raypipe.base.errors.StageError
        If it cannot be reached or written, or a package is not installed.
    """
    _tracker(uri).log_run(run, result, store, uri)


def require_tracker(uri: str) -> None:
    """Raise StageError if what an address needs is not installed."""
    _tracker(uri).require()


def _tracker(uri: str) -> ModuleType:
    return next((tracker for scheme, tracker in TRACKERS.items() if uri.startswith(scheme)), mlflow)
