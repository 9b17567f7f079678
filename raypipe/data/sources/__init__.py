"""Data sets by name.

To add one, add a file with its settings and a function that opens it, and its line in `SOURCES`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from raypipe.base.settings import Settings
from raypipe.data.published import Published
from raypipe.data.source import Source
from raypipe.data.sources import areds, breakhis, chaoyang, chest_xray14, ebhi_seg, fundus, lc25000, medmnist
from raypipe.data.sources.folder import Folder, open_folder
from raypipe.data.sources.parquet import Parquet, open_parquet
from raypipe.data.sources.synthetic import Synthetic, open_synthetic


class SourceEntry(NamedTuple):
    """A kind of data set: its settings, the function that opens it with a seed, and its publication."""

    settings: type[Settings]
    open: Callable[[Any, int], Source]
    published: Published | None = None


SOURCES: dict[str, SourceEntry] = {
    "areds": SourceEntry(areds.AREDS, areds.open_areds, areds.PUBLISHED),
    "breakhis": SourceEntry(breakhis.BreakHis, breakhis.open_breakhis, breakhis.PUBLISHED),
    "chaoyang": SourceEntry(chaoyang.Chaoyang, chaoyang.open_chaoyang, chaoyang.PUBLISHED),
    "chest_xray14": SourceEntry(chest_xray14.ChestXray14, chest_xray14.open_chest_xray14, chest_xray14.PUBLISHED),
    "ebhi_seg": SourceEntry(ebhi_seg.EBHISeg, ebhi_seg.open_ebhi_seg, ebhi_seg.PUBLISHED),
    "folder": SourceEntry(Folder, open_folder),
    "fundus": SourceEntry(fundus.Fundus, fundus.open_fundus, fundus.PUBLISHED),
    "lc25000": SourceEntry(lc25000.LC25000, lc25000.open_lc25000, lc25000.PUBLISHED),
    "medmnist": SourceEntry(medmnist.MedMNIST, medmnist.open_medmnist, medmnist.PUBLISHED),
    "parquet": SourceEntry(Parquet, open_parquet),
    "synthetic": SourceEntry(Synthetic, open_synthetic),
}


def open_source(settings: Settings, seed: int) -> Source:
    """Open the data set that `settings` describe.

    Parameters
    ----------
    settings
        Record of one of the settings types in `SOURCES`.
    seed
        Seed of the choice that a limit such as `per_class` makes, and of the tiles that the synthetic source draws.

    Raises
    ------
    FileNotFoundError
        If the data set is not at the place that `settings` give.
    TypeError
        If the settings are not those of a data set.
    """
    for entry in SOURCES.values():
        if type(settings) is entry.settings:
            return entry.open(settings, seed)
    names = ", ".join(entry.settings.__name__ for entry in SOURCES.values())
    raise TypeError(f"expected the settings of a data set ({names}), got {type(settings).__name__}")
