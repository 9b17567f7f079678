"""A run logged to MLflow's file store and read back with MLflow's client, and logged to TensorBoard's event files."""

import http.server
import io
import struct
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from raypipe.base.errors import StageError
from raypipe.base.tracking import require_tracking_address
from raypipe.evaluation.results.compute import compute_result
from raypipe.export.tracking import require_tracker, track
from raypipe.report.page.report import write_report
from raypipe.stages import pipeline
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


def test_mlflow_takes_a_sqlite_file_and_puts_the_report_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sqlalchemy")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store = Store.open(str(tmp_path / "store"))
    run = hand_run(store)
    result = compute_result(store, run)
    write_report(run, result, store)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    track(run, result, store, uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    (experiment,) = (found for found in client.search_experiments() if found.name == "raypipe")
    assert len(client.search_runs([experiment.experiment_id])) == 3
    assert list((tmp_path / "mlartifacts").rglob("report.html"))
    assert not list((tmp_path / "elsewhere").iterdir())


class Wandb(types.ModuleType):
    """Weights & Biases as far as raypipe uses it: it keeps what is logged."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: list[dict[str, Any]] = []
        self.key = ""
        self.run: Any = None
        self.Settings = dict

    def login(self, *, prompt: bool) -> bool:
        assert not prompt
        if self.key == "wrong":
            raise RuntimeError("API key verification failed")
        return bool(self.key)

    def init(self, **about: Any) -> Any:
        kept: dict[str, Any] = {**about, "logged": [], "summary": {}, "finished": False}
        self.runs.append(kept)
        return types.SimpleNamespace(
            log=kept["logged"].append, summary=kept["summary"], finish=lambda: kept.update(finished=True)
        )


def test_weights_and_biases_gets_a_run_for_each_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    store = Store.open(str(tmp_path / "store"))
    run = hand_run(store)
    result = compute_result(store, run)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(StageError, match="has no key: set WANDB_API_KEY, run `wandb login`, or set WANDB_MODE=offline"):
        require_tracker("wandb:me/robust")
    wandb.key = "wrong"
    with pytest.raises(StageError, match="refused the login: API key verification failed; set WANDB_API_KEY"):
        require_tracker("wandb:me/robust")
    wandb.run = object()
    require_tracker("wandb:me/robust")
    wandb.run, wandb.key = None, "right"
    require_tracker("wandb:me/robust")
    monkeypatch.setenv("WANDB_MODE", "offline")
    require_tracker("wandb:me/robust")
    track(run, result, store, "wandb:me/robust")
    assert [(each["entity"], each["project"], each["group"], each["name"]) for each in wandb.runs] == [
        ("me", "robust", "hand", CLEAN),
        ("me", "robust", "hand", HARDENED),
    ]
    assert wandb.runs[1]["summary"]["adaptive/cw/accuracy"] == 0.5
    assert wandb.runs[1]["config"]["hardened_on"] == "cw"
    assert all(each["finished"] for each in wandb.runs)


def test_any_failure_of_a_tracker_is_an_error_that_names_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(str(tmp_path / "store"))
    run = hand_run(store)

    def fail(*_: object) -> None:
        raise KeyError("scalar")

    monkeypatch.setattr("raypipe.export.tracking.tensorboard._log_subject", fail)
    with pytest.raises(StageError, match=r"could not be logged to tensorboard:events \(KeyError: .*results are in"):
        track(run, compute_result(store, run), store, "tensorboard:events")


def test_a_failed_tracker_fails_no_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(str(tmp_path / "store"))
    run = hand_run(store)
    monkeypatch.setattr("raypipe.export.tracking.tensorboard._log_subject", lambda *_: 1 / 0)
    console = Console(file=io.StringIO(), width=400)
    pipeline._track(run, compute_result(store, run), store, "tensorboard:events", console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "could not be logged to tensorboard:events (ZeroDivisionError" in said
    assert "`raypipe track` logs them again" in said


@pytest.mark.parametrize(
    "uri", ["wandb:", "wandb:a/b/c", "wandb:a b", "https://", "http://:5000", "http://host:99999", "mlflow", "file:"]
)
def test_a_wrong_address_is_refused_before_anything_runs(uri: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        require_tracking_address(uri)


@pytest.mark.parametrize(
    "uri", ["wandb:p", "wandb:me/p.1", "https://me:secret@host:5000/x", "http://[::1]:5000", "sqlite:///a.db"]
)
def test_an_address_of_every_kind_is_taken(uri: str) -> None:
    require_tracking_address(uri)


class Unwilling(http.server.BaseHTTPRequestHandler):
    """A server that knows no address, as one whose pages need a login."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None: ...


def fail_at_certificate(*_: object, **__: object) -> None:
    raise requests.exceptions.SSLError("certificate verify failed")


def test_a_server_that_does_not_answer_is_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unwilling) as server:
        address = f"http://me:secret@127.0.0.1:{server.server_port}/path"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        require_tracker(address)
        server.shutdown()
    with monkeypatch.context() as patch:
        patch.setattr("requests.head", fail_at_certificate)
        require_tracker(address)
    with pytest.raises(StageError, match=r"no MLflow server answers at http://\*\*\*@.* \(no connection\): start it"):
        require_tracker(address)
