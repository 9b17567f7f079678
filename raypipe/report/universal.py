"""Universal perturbations: accuracy of each model, the transfer between models, and pictures of the patterns."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.base.predictions import NO_CLASS
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.patterns import apply_pattern, parse_pattern
from raypipe.evaluation.results.run import Run, UniversalRecord
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import format_model, name_family, name_hardening
from raypipe.report.heats import TRANSFER, Heat, Shade, shade
from raypipe.report.layout import Book, Row, describe_threat, format_interval
from raypipe.report.names import name_class, name_class_in_full
from raypipe.report.pictures import Picture, draw_change, encode_data_uri, read_images
from raypipe.report.scope import describe_attacked_tiles
from raypipe.report.sheet import Cell, Sheet
from raypipe.storage.store import Store

MOST_PICTURES = 12
"""Largest number of patterns in a report, so that the report of a large grid can still be sent and opened."""


def tabulate_universal(book: Book) -> Sheet | None:
    """Return a table of each model's accuracy with its own universal perturbation; None if the run has none."""
    if not book.universal:
        return None
    table = Sheet(f"Accuracy with one pattern for all tiles ({_bound(book)}), and its 95 % interval, in %")
    table.add_columns("model")
    table.add_columns("clean", "random pattern", "own pattern", "beyond random", "predictions changed", figures=True)
    table.add_columns("worst pattern of another model", figures=True)
    for subject in dict.fromkeys(row["subject"] for row in book.universal):
        rows = {row["source"]: row for row in book.universal if row["subject"] == subject}
        own = rows.pop(subject)
        worst = min(rows.values(), key=lambda row: row["accuracy"], default=None)
        table.add_row(
            format_model(book, subject),
            format_interval(own, name="clean_accuracy"),
            format_interval(own, name="random_accuracy"),
            format_interval(own),
            format_interval(own, name="beyond_random"),
            format_interval(own, name="fooled"),
            _format_worst(book, worst),
        )
    table.caption = (
        "Each pattern is made for one model, from training tiles. The random pattern has the same size, and beyond "
        f"random is what the pattern costs more than it; {describe_attacked_tiles(book)}. {METHOD}"
    )
    return table


def tabulate_universal_transfer(book: Book) -> Sheet | None:
    """Return a table of each model's accuracy with the pattern of each model; None if no pattern is shown to others."""
    if all(row["source"] == row["subject"] for row in book.universal):
        return None
    table = Sheet(f"Transfer of universal perturbations ({_bound(book)}): accuracy, and its 95 % interval, in %")
    table.add_columns("pattern of", "shown to")
    table.add_columns("clean", "random pattern", "pattern", "beyond random", figures=True)
    for source in dict.fromkeys(row["source"] for row in book.universal):
        table.add_section()
        for row in (row for row in book.universal if row["source"] == source):
            figures = (format_interval(row, name=name) for name in ("clean_accuracy", "random_accuracy", "accuracy"))
            beyond = format_interval(row, name="beyond_random")
            table.add_row(_name_in_short(book, source), format_model(book, row["subject"]), *figures, beyond)
    table.caption = METHOD
    return table


def build_universal_heat(book: Book) -> Heat | None:
    """Return a matrix of accuracy by model and pattern; None if no pattern is shown to other models."""
    if all(row["source"] == row["subject"] for row in book.universal):
        return None
    found = {(row["subject"], row["source"]): row["accuracy"] for row in book.universal}
    sources, subjects = (list(dict.fromkeys(row[name] for row in book.universal)) for name in ("source", "subject"))
    rows = tuple(
        (_name_in_short(book, subject), tuple(_shade(found.get((subject, source))) for source in sources))
        for subject in subjects
    )
    return Heat("Accuracy in %", tuple(_name_in_short(book, source) for source in sources), rows, TRANSFER)


def draw_patterns(run: Run, book: Book, store: Store) -> Iterator[Picture]:
    """Yield a picture for the pattern of each model, beside a test tile of it without and with the pattern.

    There is none if the terms of the data set forbid redistribution of its tiles.
    """
    if run.restriction is not None:
        return
    artifacts = Artifacts(store)
    own = [record for record in run.universal if record.source == record.subject]
    for record in own[:MOST_PICTURES]:
        predictions = artifacts.read_perturbed(record.key)
        place = _choose_tile(predictions)
        sample_id = predictions["sample_id"][place].as_py()
        tile = read_images(store, "tiles", record.tiles, [sample_id], "test")[sample_id]
        change, _ = parse_pattern(pa.concat_tables(store.iter_tables("patterns", record.pattern)))
        before, after = (_name(run, predictions[name][place].as_py()) for name in ("clean_prediction", "prediction"))
        yield _draw(record, _name_in_short(book, record.subject), tile, change, before, after)


def _draw(
    record: UniversalRecord, model: str, tile: NDArray[np.uint8], change: NDArray[np.int16], before: str, after: str
) -> Picture:
    """Return the picture of a pattern and of a tile; the third image is the pattern itself, around middle gray."""
    pattern, factor = draw_change(change)
    perturbed = apply_pattern(tile[None], change)[0]
    return Picture(
        sample_id=f"{record.norm} {model}",
        attack=f"Universal perturbation of {model}",
        harm="one pattern for all tiles",
        caption=f"{name_class(before)} \u2192 {name_class(after)}",
        before=name_class_in_full(before),
        after=name_class_in_full(after),
        harmful=False,
        sizes=_measure_sizes(change),
        factor=factor,
        clean=encode_data_uri(tile),
        adversarial=encode_data_uri(perturbed),
        difference=encode_data_uri(pattern),
        side=tile.shape[0],
    )


def _choose_tile(predictions: pa.Table) -> int:
    """Return the position of the first tile that the pattern turns into an error, or of the first tile at all."""
    clean, after, labels = (predictions[name].to_numpy() for name in ("clean_prediction", "prediction", "label"))
    return int(((clean == labels) & (after != labels)).argmax())


def _measure_sizes(change: NDArray[np.int16]) -> dict[str, float]:
    scaled = change.astype(np.float64) / 255
    return {
        "l0": float((change != 0).sum()),
        "l2": float(np.linalg.norm(scaled)),
        "linf": float(np.abs(scaled).max()),
    }


def _name(run: Run, prediction: int) -> str:
    return "none" if prediction == NO_CLASS else run.labels[prediction]


def _bound(book: Book) -> str:
    return describe_threat(book.universal[0])


def _name_in_short(book: Book, subject: str) -> str:
    return f"{name_family(book, subject)}, {name_hardening(book, subject)}"


def _format_worst(book: Book, row: Row | None) -> Cell:
    if row is None:
        return Cell("-", tone="dim")
    cell = format_interval(row)
    return cell._replace(beside=_name_in_short(book, row["source"]))


def _shade(accuracy: float | None) -> Shade:
    return shade("" if accuracy is None else f"{100 * accuracy:.0f}", accuracy)
