"""The results of a run for other programs, by the scheme of a URI. To add a program, add its file and its line here."""

from types import ModuleType

from raypipe.base.errors import StageError, get_last_line
from raypipe.base.tracking import require_tracking_address
from raypipe.evaluation.results.result import RunResult
from raypipe.evaluation.results.run import Run
from raypipe.export.tracking import mlflow, tensorboard, wandb
from raypipe.storage.environment import hide_credentials
from raypipe.storage.store import Store

TRACKERS: dict[str, ModuleType] = {tensorboard.SCHEME: tensorboard, wandb.SCHEME: wandb}


def track(run: Run, result: RunResult, store: Store, uri: str) -> None:
    """Log a run's settings, figures and records to another program.

    Parameters
    ----------
    uri
        ``tensorboard:FOLDER``, ``wandb:PROJECT``, or else the address of an MLflow server, or ``file:FOLDER`` for its
        files.

    Raises
    ------
    raypipe.base.errors.StageError
        If the target cannot be reached or written, or a package is not installed.
    ValueError
        If no program takes the address.
    """
    require_tracking_address(uri)
    try:
        _get_tracker(uri).log_run(run, result, store, uri)
    except StageError:
        raise
    except Exception as error:  # a tracker must not turn a finished run into a failed one
        raise StageError(
            f"the run could not be logged to {hide_credentials(uri)} ({type(error).__name__}: {get_last_line(error)}); "
            f"its results are in {result.location}, and `raypipe track` logs them again"
        ) from error


def require_tracker(uri: str) -> None:
    """Require an address that a program takes, the package that it needs, and a server that answers and knows the user.

    Raises
    ------
    raypipe.base.errors.StageError
        If the package is not installed, or the program could not log to this address.
    ValueError
        If no program takes the address.
    """
    require_tracking_address(uri)
    _get_tracker(uri).require(uri)


def _get_tracker(uri: str) -> ModuleType:
    return next((tracker for scheme, tracker in TRACKERS.items() if uri.startswith(scheme)), mlflow)
