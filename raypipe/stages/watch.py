"""A watch on fits that run elsewhere: it reads finished epochs from the store, and prints a line for each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from raypipe.plan.cells import Cell
from raypipe.progress.polling import poll
from raypipe.progress.stage import StageProgress
from raypipe.stages.fit_files import read_last_epoch
from raypipe.stages.metrics import count_epochs, get_labels
from raypipe.storage.store import Store

POLL_SECONDS = 1.0


@contextmanager
def watch_fits(fits: Sequence[Cell], cells: Sequence[Cell], store: Store, progress: StageProgress) -> Iterator[None]:
    """Report every epoch of `fits`, and every cell of `cells` that gets its artifact, while the block runs.

    Parameters
    ----------
    fits
        The cells themselves, or their candidates.
    cells
        Cells of the stage that have no artifact yet.
    """
    last_epochs = {fit.key: 0 for fit in fits}
    expected = {fit.key: get_planned_epochs(fit) for fit in fits}
    waiting = list(cells)

    def look() -> None:
        for fit in fits:
            epoch = read_last_epoch(store, fit)
            progress.state.alive |= bool(epoch)
            if epoch and epoch["epochs"] != expected[fit.key]:  # a fit with a time limit chooses its number
                progress.state.total += epoch["epochs"] - expected[fit.key]
                expected[fit.key] = epoch["epochs"]
            if epoch and epoch["epoch"] > last_epochs[fit.key]:
                figures = list(_format_figures(epoch))
                line = f"{fit.name}  epoch {epoch['epoch']}/{epoch['epochs']}  {'  '.join(figures)}  "
                line += f"{epoch['seconds']:.1f} s"
                new_epochs = epoch["epoch"] - last_epochs[fit.key]
                count_epochs(get_labels(progress.run, fit), new_epochs, epoch)
                progress.advance(new_epochs, fit, note=", ".join(figures), line=line)
                last_epochs[fit.key] = epoch["epoch"]
        for cell in [cell for cell in waiting if cell.manifest(store)]:
            progress.finish(cell)
            waiting.remove(cell)

    try:
        with poll(look, POLL_SECONDS):
            yield
    finally:
        look()


def get_planned_epochs(fit: Cell) -> int:
    """Return the number of epochs of a fit; 1 if a time limit will determine it, once the fit has begun."""
    settings = fit.spec.recipe if fit.stage == "train" else fit.spec.defense
    limited = fit.stage == "harden" and settings.time_limit
    return 1 if limited else int(settings.epochs)


def _format_figures(epoch: dict[str, Any]) -> Iterator[str]:
    yield f"loss {epoch['loss']:.3f}"
    yield f"accuracy {epoch['accuracy']:.1%}"
    if epoch["validation_loss"] is not None:
        yield f"validation loss {epoch['validation_loss']:.3f}"
        yield f"validation accuracy {epoch['validation_accuracy']:.1%}"
