"""The tiles of an attack as tables and as PNGs in a folder."""

import re
import shutil
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.storage.store import Store

IMAGES = "images"
"""Folder of the PNGs."""
PLAIN = re.compile(r"[^A-Za-z0-9_.-]")
LONGEST_STEM = 60


def write_pictures(tiles: pa.Table, adversarials: pa.Table, rejected: pa.Table, folder: Path) -> None:
    """Write the tables of clean and adversarial tiles, and the adversarial tiles as a class folder of PNGs.

    The folder ``images`` can serve as a data set again: the model's accuracy there is its accuracy after the attack.

    Parameters
    ----------
    tiles, adversarials
        Clean and adversarial tiles, in the same order: see `raypipe.storage.schemas`.
    rejected
        Files that could not be read.
    folder
        Folder without ``images``. They appear all together or not at all.
    """
    store = Store.open(str(folder.absolute()))
    store.write_table("tiles.parquet", tiles)
    store.write_table("rejected.parquet", rejected)
    store.write_table("adversarials.parquet", adversarials)
    encoded = pc.struct_field(adversarials["image"], "bytes").to_pylist()
    names = (tiles[name].to_pylist() for name in ("label_name", "source_path", "sample_id"))
    unfinished = folder / f".tmp-{IMAGES}"
    shutil.rmtree(unfinished, ignore_errors=True)
    for label, source, name, data in zip(*names, encoded, strict=True):
        stem = PLAIN.sub("_", PurePosixPath(source).stem)[:LONGEST_STEM]
        target = unfinished / label / f"{stem}-{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    unfinished.rename(folder / IMAGES)
