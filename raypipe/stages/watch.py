"""Watching fits that run elsewhere: every finished epoch becomes a line, read from the store."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from raypipe.cells import Cell
from raypipe.stages.fitting import last_epoch
from raypipe.stages.metrics import count_epochs
from raypipe.store import Store
from raypipe.telemetry.stage import StageProgress

POLL_SECONDS = 1.0


@contextmanager
def watched(cells: Sequence[Cell], store: Store, progress: StageProgress) -> Iterator[None]:
    """Report the cells' epochs to `progress` while the block runs, and those whose last epoch is done."""
    seen = {cell.key: 0 for cell in cells}
    stop = threading.Event()

    def look() -> None:
        for cell in cells:
            epoch = last_epoch(store, cell)
            if epoch and epoch["epoch"] > seen[cell.key]:
                line = (
                    f"{cell.name}  epoch {epoch['epoch']}/{epoch['epochs']}  loss {epoch['loss']:.3f}  "
                    f"accuracy {epoch['accuracy']:.1%}  {epoch['seconds']:.1f} s"
                )
                done = f"loss {epoch['loss']:.3f}, accuracy {epoch['accuracy']:.1%}"
                count_epochs(cell, epoch["epoch"] - seen[cell.key], epoch["loss"], epoch["accuracy"])
                progress.advance(epoch["epoch"] - seen[cell.key], done, cell=cell.name, line=line)
                seen[cell.key] = epoch["epoch"]
                if epoch["epoch"] == epoch["epochs"]:
                    progress.finish(cell.name)

    def loop() -> None:
        while not stop.wait(POLL_SECONDS):
            look()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()
