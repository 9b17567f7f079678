"""A run logged to MLflow's own file store, read back with MLflow's own client."""

import sys
from pathlib import Path

import pytest

from raypipe.environment import describe_environment, without_credentials, write_environment
from raypipe.errors import StageError
from raypipe.evaluation.results import compute_result
from raypipe.report.page.report import write_report
from raypipe.store import Store
from raypipe.tracking import track
from tests.evaluation.handmade import CLEAN, HARDENED, hand_run

mlflow = pytest.importorskip("mlflow")


def test_a_run_its_models_and_its_files_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = Store.open(str(tmp_path / "store"))
    run = hand_run(store)
    write_environment(store, run.name, describe_environment(1, {"CPU": 2.0}))
    result = compute_result(store, run)
    write_report(run, result, store)
    uri = (tmp_path / "mlruns").as_uri()
    track(run, result, store, uri)

    client = mlflow.MlflowClient(tracking_uri=uri)
    (experiment,) = (found for found in client.search_experiments() if found.name == "raypipe")
    logged = {each.info.run_name: each for each in client.search_runs([experiment.experiment_id])}
    assert set(logged) == {"hand", CLEAN, HARDENED}
    assert logged["hand"].data.params["name"] == "hand"
    assert logged["hand"].data.tags["raypipe.cpus"] == "2.0"
    files = {file.path for file in client.list_artifacts(logged["hand"].info.run_id)}
    assert {"report.html", "experiment.yaml", "records.parquet"} <= files
    hardened = logged[HARDENED].data
    assert hardened.tags["mlflow.parentRunId"] == logged["hand"].info.run_id
    assert hardened.params["hardened_on"] == "cw"
    assert hardened.metrics["static/cw/accuracy"] == 0.875
    assert hardened.metrics["adaptive/cw/accuracy"] == 0.5
    assert all(each.info.status == "FINISHED" for each in logged.values())


def test_without_mlflow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(StageError, match=r"raypipe\[mlflow\]"):
        track(run, compute_result(store, run), store, "file:x")


def test_credentials_of_a_server_are_never_repeated() -> None:
    assert without_credentials("run --set tracking=https://me:secret@host/x") == "run --set tracking=https://***@host/x"
