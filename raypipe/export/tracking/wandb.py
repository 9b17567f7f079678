"""The results of a run for Weights & Biases: a run for every model under test, in one group, with its figures."""

import os
from typing import Any

import yaml

from raypipe.base.errors import StageError, get_last_line
from raypipe.base.tracking import WANDB
from raypipe.evaluation.results.result import RunResult
from raypipe.evaluation.results.run import Run
from raypipe.export.tracking.figures import list_figures
from raypipe.report.layout import Book
from raypipe.storage.store import Store

SCHEME = WANDB
EXTRA = "pip install 'raypipe[wandb]'"
REMEDY = "set WANDB_API_KEY, run `wandb login`, or set WANDB_MODE=offline and upload later with `wandb sync`"


def log_run(run: Run, result: RunResult, store: Store, uri: str) -> None:
    """Log a run to Weights & Biases: its settings, the figures and the training history of every model.

    The key and the mode come from the environment, as the program reads them: ``WANDB_API_KEY``, and
    ``WANDB_MODE=offline``, which writes to the folder ``WANDB_DIR`` for a later ``wandb sync``.

    Parameters
    ----------
    uri
        ``wandb:PROJECT``, or ``wandb:ENTITY/PROJECT``.

    Raises
    ------
    raypipe.base.errors.StageError
        If wandb is not installed, has no key, or cannot be reached.
    """
    wandb = require(uri)
    entity, _, project = uri.removeprefix(SCHEME).rpartition("/")
    book = Book.from_result(result)
    settings = yaml.safe_load(store.read_bytes(f"runs/{run.name}/experiment.yaml"))
    try:
        for subject in run.subjects:
            about = {name: book.subjects[subject.id][name] for name in ("model", "backbone", "defense", "hardened_on")}
            logged = wandb.init(
                project=project,
                entity=entity or None,
                group=run.name,
                name=subject.id,
                config={**about, "experiment": settings, "stamps": book.stamps, "location": result.location},
                settings=wandb.Settings(silent=True, console="off"),
            )
            history = (store.manifest("model", subject.key) or {}).get("history", ())
            _log_subject(logged, history, book, subject.id)
            logged.finish()
    except Exception as error:  # wandb lets errors of requests and its own through
        raise StageError(
            f"Weights & Biases refused the run for {uri}: {get_last_line(error)}; its results are in "
            f"{result.location}, and `raypipe track` logs them again"
        ) from error


def require(uri: str) -> Any:  # noqa: ARG001  one signature for all programs
    """Return the module wandb.

    Raises
    ------
    StageError
        If it is not installed, or it is not offline and has no key that the server takes.
    """
    try:
        import wandb  # noqa: PLC0415  an extra
    except ImportError as error:
        raise StageError(f"tracking needs Weights & Biases: {EXTRA}") from error
    is_logged_in = wandb.run is not None  # a run of the user's own is at work
    if not (is_logged_in or _is_offline()):
        try:
            has_key = wandb.login(prompt=False)
        except Exception as error:  # wandb lets errors of requests and its own through
            raise StageError(f"Weights & Biases refused the login: {get_last_line(error)}; {REMEDY}") from error
        if not has_key:
            raise StageError(f"Weights & Biases has no key: {REMEDY}")
    return wandb


def _is_offline() -> bool:
    return os.environ.get("WANDB_MODE") in ("offline", "disabled")


def _log_subject(logged: Any, history: Any, book: Book, subject: str) -> None:
    for epoch in history:
        logged.log({f"training/{name}": value for name, value in epoch.items() if value is not None})
    failed = sum(row["verdict"] == "fail" for row in book.checks if row["subject"] == subject)
    logged.summary.update({"checks_failed": failed, **dict(list_figures(book.find_records(subject)))})
