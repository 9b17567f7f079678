"""The tiles of a folder, or of arrays, as the tables that all other code reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.data.reading.png import encode_png
from raypipe.data.source import Source
from raypipe.data.subset import choose_subset
from raypipe.data.tiles import TileItem, decode_images, make_tiles, sample_id
from raypipe.evaluation.results.run import GIVEN
from raypipe.storage.schemas import REJECTED, TILES


@dataclass(frozen=True, eq=False)
class GivenTiles:
    """The tiles that a model is attacked or evaluated on.

    Parameters
    ----------
    table
        Table in the schema `raypipe.storage.schemas.TILES`; a label is the position of its class in `labels`.
    images
        Images (n, h, w, 3), uint8.
    rejected
        Table in the schema `raypipe.storage.schemas.REJECTED` of the files that could not be read.
    labels, malignant
        All classes, and the classes that are cancer.
    synthetic
        True if a program drew the tiles.
    restriction
        Reason why no picture of the tiles may be passed on; None if nothing forbids it.
    """

    table: pa.Table
    images: NDArray[np.uint8]
    rejected: pa.Table
    labels: tuple[str, ...]
    malignant: tuple[str, ...]
    synthetic: bool
    restriction: str | None = None

    @property
    def truth(self) -> NDArray[np.int64]:
        """(n,) true classes, 0 to classes - 1."""
        truth: NDArray[np.int64] = self.table["label"].to_numpy().copy()
        return truth

    @property
    def groups(self) -> list[str]:
        """(n,) groups of the tiles, such as source tiles; a tile of unknown group is a group of its own."""
        pairs = zip(self.table["group_id"].to_pylist(), self.table["sample_id"].to_pylist(), strict=True)
        return [group or name for group, name in pairs]


def read_tiles(source: Source, labels: Sequence[str], size: int, count: int | None, seed: int = 0) -> GivenTiles:
    """Read the tiles of a data set.

    Parameters
    ----------
    source
        The data set.
    labels
        The model's classes in the order of its logits.
    size
        Height and width that tiles are resized to, in pixels.
    count
        Number of tiles, spread over as many groups as possible and balanced by class; None means all.
    seed
        Seed of the choice of tiles.

    Raises
    ------
    ValueError
        If a class of the data set is none of the model's classes, or no file gives a tile.
    """
    if unknown := sorted(set(source.labels) - set(labels)):
        raise ValueError(
            f"the model does not know the class {', '.join(unknown)}; it has {', '.join(labels)}: rename the folders, "
            "or give --labels in the order of its logits"
        )
    refs = [ref for ref in source.list() if ref.problem is None]
    known = [str(ref.label_name) for ref in refs]
    if count is not None:
        chosen = choose_subset(
            [labels.index(name) for name in known], [ref.group or ref.path for ref in refs], count, seed
        )
        refs = [refs[place] for place in chosen]
    table, rejected = make_tiles(source, [TileItem(ref, GIVEN) for ref in refs], size)
    if not table.num_rows:
        raise ValueError(f"none of {len(refs)} files gives a tile; the first: {rejected['reason'][0].as_py()}")
    places = [labels.index(name) for name in table["label_name"].to_pylist()]
    table = table.set_column(table.schema.get_field_index("label"), "label", pa.array(places, pa.int64()))
    return GivenTiles(
        table, decode_images(table), rejected, tuple(labels), source.malignant, source.synthetic, source.restriction
    )


def tiles_of(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> GivenTiles:
    """Return tiles in memory as tables.

    Parameters
    ----------
    images
        Images (n, h, w, 3), uint8.
    labels
        (n,) true classes, 0 to classes - 1.
    classes
        Names of the classes; default: their numbers.
    groups
        (n,) source tile of each tile; default: every tile is a group of its own.

    Raises
    ------
    ValueError
        If shapes or types do not fit.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
        raise ValueError(
            f"images {images.dtype} {images.shape}: expected uint8 (n, h, w, 3), n >= 1; of floats in [0, 1] and "
            "(n, 3, h, w), (255 * images).round().astype('uint8').transpose(0, 2, 3, 1)"
        )
    truth = np.asarray(labels)
    if truth.shape != images.shape[:1] or truth.dtype.kind not in "iu" or truth.min() < 0:
        raise ValueError(f"labels {truth.dtype} {truth.shape}: expected ({len(images)},) whole numbers from 0")
    names = tuple(classes) if classes is not None else tuple(map(str, range(int(truth.max()) + 1)))
    if truth.max() >= len(names):
        raise ValueError(f"labels up to {truth.max()}, but {len(names)} classes: expected a name for each")
    if groups is not None and len(groups) != len(images):
        raise ValueError(f"{len(groups)} groups for {len(images)} images: expected one for each")
    width = len(str(len(images)))
    paths = [f"{place:0{width}}" for place in range(len(images))]
    ids = [sample_id(path) for path in paths]
    columns = {
        "sample_id": ids,
        "image": [{"bytes": encode_png(image), "path": f"{name}.png"} for image, name in zip(images, ids, strict=True)],
        "label": truth.astype(np.int64),
        "label_name": [names[label] for label in truth],
        "group_id": list(groups) if groups is not None else [None] * len(images),
        "split": [GIVEN] * len(images),
        "source_path": paths,
    }
    table = pa.table(columns, schema=TILES)
    return GivenTiles(table, images, REJECTED.empty_table(), names, (), synthetic=False)
