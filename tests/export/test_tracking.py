"""A run logged to MLflow's file store and read back with MLflow's client, and logged to TensorBoard's event files."""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from raypipe.base.errors import StageError
from raypipe.evaluation.results.compute import compute_result
from raypipe.export.tracking import track
from raypipe.report.page.report import write_report
from raypipe.storage.environment import describe_environment, hide_credentials, write_environment
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, HARDENED, hand_run

mlflow = pytest.importorskip("mlflow")


def test_a_run_its_models_and_its_files_are_logged(tmp_path: Path) -> None:
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
    assert hide_credentials("run --set tracking=https://me:secret@host/x") == "run --set tracking=https://***@host/x"


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yield tag, step and value from event files as TensorFlow defines them: length, checksum, message, checksum."""
    for file in sorted(folder.glob("events.out.tfevents.*")):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)
            data = data[16 + length :]


def test_event_files_have_every_epoch_and_every_figure(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    run = hand_run(store)
    first = {"epoch": 1, "loss": 1.5, "accuracy": 0.5, "validation_loss": None, "validation_accuracy": None}
    second = {"epoch": 2, "loss": 0.25, "accuracy": 1.0, "validation_loss": 0.75, "validation_accuracy": 0.625}
    epochs = [first, second]
    (hardened,) = (subject for subject in run.subjects if subject.id == HARDENED)
    store.publish("model", hardened.key, {"history": epochs})
    for _ in range(2):
        track(run, compute_result(store, run), store, f"tensorboard:{tmp_path / 'events'}")
    written = list(scalars(tmp_path / "events" / "hand" / HARDENED))
    assert [(step, value) for tag, step, value in written if tag == "training/loss"] == [(1, 1.5), (2, 0.25)]
    held_out = [(tag, step, value) for tag, step, value in written if tag.startswith("validation/")]
    assert sorted(held_out) == [("validation/accuracy", 2, 0.625), ("validation/loss", 2, 0.75)]
    assert [value for tag, _, value in written if tag == "static/cw/accuracy"] == [0.875]
    assert [value for tag, _, value in written if tag == "adaptive/cw/accuracy"] == [0.5]
    clean = {tag for tag, _, _ in scalars(tmp_path / "events" / "hand" / CLEAN)}
    assert "clean/accuracy" in clean
    assert not any(tag.startswith("training") for tag in clean)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    run = hand_run(store)
    (tmp_path / "events").write_text("a file")
    with pytest.raises(StageError, match="no event files could be written"):
        track(run, compute_result(store, run), store, f"tensorboard:{tmp_path / 'events'}")
