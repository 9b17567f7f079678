"""Data sets by name. Another one is a file with its settings and a function that opens it, and a line in `SOURCES`."""

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
    """A kind of data set: the record that an experiment fills in, what opens it with a seed, and where to get it."""

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
        One of the settings types in `SOURCES`.
    seed
        Decides what a limit such as `per_class` keeps, and what the synthetic source draws.

    Raises
    ------
    FileNotFoundError
        The data set is not where `settings` say.
    TypeError
        The settings are not those of a data set.
    """
    for entry in SOURCES.values():
        if type(settings) is entry.settings:
            return entry.open(settings, seed)
    names = ", ".join(entry.settings.__name__ for entry in SOURCES.values())
    raise TypeError(f"expected the settings of a data set ({names}), got {type(settings).__name__}")
