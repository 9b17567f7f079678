"""Example tiles of natural corruptions: a tile unchanged, and at every severity of a corruption."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raypipe.base.predictions import NO_CLASS
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.corrupted import OVERALL
from raypipe.evaluation.results.run import CorruptedRecord, Run
from raypipe.report.layout import Book
from raypipe.report.names import name_class, name_class_in_full
from raypipe.report.pictures import encode_data_uri, read_images
from raypipe.storage.store import Store
from raypipe.storage.tables import stack_lists

STRIPS = 3
"""Number of corruptions that are shown, the worst first."""
SIDE = 96
"""Largest side length of a picture, in pixels, so that a page of large tiles can still be sent."""


@dataclass(frozen=True)
class Shown:
    """One version of a tile.

    Parameters
    ----------
    name
        ``unchanged``, or the severity.
    image
        Picture, as a data URI.
    predicted
        Name of the class that the model predicts.
    correct
        True if this is the tile's class.
    """

    name: str
    image: str
    predicted: str
    correct: bool


@dataclass(frozen=True)
class Strip:
    """A tile unchanged and at every severity of a corruption.

    Parameters
    ----------
    title
        Corruption, and true class of the tile.
    versions
        Versions of the tile: unchanged first, then by severity.
    side
        Side length of a picture, in pixels.
    """

    title: str
    versions: tuple[Shown, ...]
    side: int


def draw_corruption_strips(run: Run, book: Book, store: Store, subject: str) -> Iterator[Strip]:
    """Yield a strip for each of the corruptions that reduce a model's accuracy most.

    Each shows a tile that the model classifies correctly unchanged and wrongly at the most severities. There is none if
    the terms of the data set forbid redistribution of its tiles.

    Parameters
    ----------
    subject
        Id of the model.

    Raises
    ------
    FileNotFoundError
        If artifacts are missing.
    """
    if run.restriction is not None:
        return
    accuracy = {
        row["corruption"]: row["accuracy"]
        for row in book.corruptions
        if (row["subject"], row["severity"]) == (subject, OVERALL)
    }
    records = {record.corruption: record for record in run.corrupted if record.subject == subject}
    seen: set[str] = set()
    for name in sorted(records, key=lambda each: (accuracy[each], each))[:STRIPS]:
        yield _draw(run, store, records[name], seen)


def _draw(run: Run, store: Store, record: CorruptedRecord, seen: set[str]) -> Strip:
    # PyTorch takes seconds to import, and only reports with corruptions need it.
    import torch  # noqa: PLC0415

    from raypipe.corruptions import CORRUPTIONS  # noqa: PLC0415
    from raypipe.corruptions.pixels import corrupt_pixels  # noqa: PLC0415

    table = Artifacts(store).read_corrupted(record.key)
    ids, labels = table["sample_id"].to_pylist(), table["label"].to_numpy()
    predicted = np.column_stack([table["clean_prediction"].to_numpy(), stack_lists(table["predictions"])])
    place = _choose(predicted == labels[:, None], [name in seen for name in ids])
    seen.add(ids[place])
    tiles = run.find_clean_pairing(record.subject).tiles
    clean = read_images(store, "tiles", tiles, [ids[place]], "test")[ids[place]]
    cpu = torch.device("cpu")
    versions = [
        clean,
        *(corrupt_pixels(clean[None], record.corruption, level, run.seed, cpu)[0] for level in record.levels),
    ]
    names = ["unchanged", *(f"severity {number}" for number in range(1, len(versions)))]
    label = int(labels[place])
    return Strip(
        f"{CORRUPTIONS[record.corruption].title}: {name_class_in_full(run.labels[label])}",
        tuple(
            Shown(name, encode_data_uri(_shrink(pixels)), _name_answer(run, answer), bool(answer == label))
            for name, pixels, answer in zip(names, versions, predicted[place].tolist(), strict=True)
        ),
        min(SIDE, clean.shape[0]),
    )


def _name_answer(run: Run, answer: int) -> str:
    return "none" if answer == NO_CLASS else name_class(run.labels[answer])


def _choose(correct: NDArray[np.bool_], seen: list[bool]) -> int:
    """Return the position of the tile that is correct unchanged and wrong most often; a tile already shown comes last.

    Parameters
    ----------
    correct
        (n, 1 + severities) True where the model classifies the tile correctly: unchanged first, then by severity.
    seen
        (n,) True for tiles that another strip shows.
    """
    errors = (~correct[:, 1:]).sum(1)
    order = np.lexsort((-errors, ~correct[:, 0], np.array(seen)))
    return int(order[0])


def _shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.shape[0] <= SIDE:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX))
