"""The results of a run for MLflow: a run, a child run for every model under test, and the most useful files."""

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from raypipe.base.errors import StageError, get_last_line
from raypipe.evaluation.results.result import TABLES, RunResult
from raypipe.evaluation.results.run import Run
from raypipe.export.tracking.figures import list_figures
from raypipe.report.layout import Book
from raypipe.report.page.report import REPORT_FILE
from raypipe.storage.environment import hide_credentials, read_environment
from raypipe.storage.store import Store

EXPERIMENT = "raypipe"
SQLITE = "sqlite:///"
SERVERS = ("http://", "https://")
PATIENCE = 10
"""Seconds within which a server must answer."""
FILES = ("experiment.yaml", REPORT_FILE, *(f"{name}.parquet" for name in TABLES))


def log_run(run: Run, result: RunResult, store: Store, uri: str) -> None:
    """Log a run to MLflow: its settings, every figure of every model, its report and its records.

    A repeated log replaces nothing: MLflow keeps both.

    Parameters
    ----------
    uri
        Address of the tracking server, or ``file:...``.

    Raises
    ------
    raypipe.base.errors.StageError
        If MLflow is not installed or cannot be reached.
    """
    mlflow = require(uri)
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT, _place_files(uri))
        _log(client, experiment, run, result, store)
    except Exception as error:  # MLflow lets errors of SQLAlchemy, of requests and its own through
        raise StageError(
            f"MLflow at {hide_credentials(uri)} refused the run: {get_last_line(error)}; its results are in "
            f"{result.location}, and `raypipe track` logs them again"
        ) from error


def require(uri: str) -> Any:
    """Return the module mlflow.

    Raises
    ------
    raypipe.base.errors.StageError
        If it is not installed, or no server answers at an address of one.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # otherwise MLflow refuses the folder that `file:` names
    try:
        import mlflow  # noqa: PLC0415  an extra
    except ImportError as error:
        raise StageError("tracking needs MLflow: pip install 'raypipe[mlflow]'") from error
    if uri.startswith(SERVERS):
        _require_answer(uri)
    return mlflow


def _require_answer(uri: str) -> None:
    """Require any answer of a server, because MLflow itself repeats a request for minutes."""
    import requests  # noqa: PLC0415  comes with the extra

    try:
        requests.head(uri, timeout=PATIENCE)
    except requests.exceptions.SSLError:
        return  # a server answers; MLflow may be told to trust its certificate
    except requests.RequestException as error:
        reason = "no connection" if isinstance(error, requests.ConnectionError) else get_last_line(error)
        raise StageError(
            f"no MLflow server answers at {hide_credentials(uri)} ({reason}): start it, or correct the address"
        ) from error


def _place_files(uri: str) -> str | None:
    """Return the folder of the files beside an SQLite file, or None for the server's own place.

    MLflow would put them into the folder in which the command happens to run.
    """
    if not uri.startswith(SQLITE):
        return None
    return (Path(uri.removeprefix(SQLITE)).resolve().parent / "mlartifacts").as_uri()


def _log(client: Any, experiment: str, run: Run, result: RunResult, store: Store) -> None:
    folder = f"runs/{run.name}"
    book = Book.from_result(result)
    tags = {"mlflow.runName": run.name, "raypipe.stamps": "; ".join(book.stamps), "raypipe.location": result.location}
    if environment := read_environment(store, run.name):
        tags |= {f"raypipe.{name}": str(value) for name, value in environment.model_dump().items()}
    parent = client.create_run(experiment, tags=tags).info.run_id
    settings = yaml.safe_load(store.read_bytes(f"{folder}/experiment.yaml"))
    for name, value in _flatten(settings):
        client.log_param(parent, name, value)
    with tempfile.TemporaryDirectory() as scratch:
        for name in FILES:
            copy = Path(scratch, name)
            copy.write_bytes(store.read_bytes(f"{folder}/{name}"))
            client.log_artifact(parent, str(copy))
    for subject, clean in book.subjects.items():
        about = {name: str(clean[name]) for name in ("model", "backbone", "split", "seed", "defense", "hardened_on")}
        failed = sum(row["verdict"] == "fail" for row in book.checks if row["subject"] == subject)
        tags = {"mlflow.runName": subject, "mlflow.parentRunId": parent}
        below = client.create_run(experiment, tags=tags).info.run_id
        for name, value in about.items():
            client.log_param(below, name, value)
        client.log_metric(below, "checks_failed", failed)
        for name, value in list_figures(book.find_records(subject)):
            client.log_metric(below, name, value)
        client.set_terminated(below)
    client.set_terminated(parent)


def _flatten(settings: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested settings as flat pairs: ``{"train": {"epochs": 3}}`` -> ``[("train.epochs", 3)]``."""
    if isinstance(settings, dict) and settings:
        return [
            pair for name, value in settings.items() for pair in _flatten(value, f"{prefix}.{name}" if prefix else name)
        ]
    return [(prefix, settings)]
