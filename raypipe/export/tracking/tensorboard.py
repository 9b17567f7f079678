"""The results of a run for TensorBoard: every model's training history and figures. Ray Tune brings the writer."""

from pathlib import Path
from typing import Any

from raypipe.base.errors import StageError
from raypipe.base.tracking import TENSORBOARD
from raypipe.evaluation.results.result import RunResult
from raypipe.evaluation.results.run import Run
from raypipe.export.tracking.figures import list_figures
from raypipe.report.layout import Book
from raypipe.storage.store import Store

SCHEME = TENSORBOARD
EVENTS = "events.out.tfevents.*"


def log_run(run: Run, result: RunResult, store: Store, uri: str) -> None:
    """Write a run's event files below a folder, one folder per model, and replace those of an earlier log.

    Parameters
    ----------
    uri
        ``tensorboard:FOLDER``.

    Raises
    ------
    raypipe.base.errors.StageError
        If the folder cannot be written.
    """
    folder = Path(uri.removeprefix(SCHEME)).expanduser() / run.name
    book = Book.from_result(result)
    try:
        for subject in run.subjects:
            _log_subject(folder / subject.id, store.manifest("model", subject.key) or {}, book, subject.id)
    except OSError as error:
        raise StageError(
            f"{folder}: no event files could be written: {error}; results are in {result.location}"
        ) from error


def require(uri: str) -> None:
    """Do nothing: Ray Tune brings all required packages."""


def _log_subject(folder: Path, manifest: dict[str, Any], book: Book, subject: str) -> None:
    from tensorboardX import SummaryWriter  # noqa: PLC0415  half a second that most runs save

    for old in folder.glob(EVENTS):
        old.unlink()
    with SummaryWriter(str(folder)) as writer:
        for epoch in manifest.get("history", ()):
            writer.add_scalar("training/loss", epoch["loss"], epoch["epoch"])
            writer.add_scalar("training/accuracy", epoch["accuracy"], epoch["epoch"])
            for name in ("loss", "accuracy"):
                if (value := epoch[f"validation_{name}"]) is not None:
                    writer.add_scalar(f"validation/{name}", value, epoch["epoch"])
        for name, value in list_figures(book.find_records(subject)):
            writer.add_scalar(name.replace(" ", "_").replace(":", "_"), value)
