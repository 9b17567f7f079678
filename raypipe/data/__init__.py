"""Data sets by name. Another one is a file with its settings and a function that opens it, and a line in `SOURCES`."""

from collections.abc import Callable
from typing import Any, NamedTuple

from raypipe.data.folder import Folder, open_folder
from raypipe.data.lc25000 import LC25000, open_lc25000
from raypipe.data.sources import Source
from raypipe.data.synthetic import Synthetic, open_synthetic
from raypipe.settings import Settings


class SourceEntry(NamedTuple):
    """A kind of data set: the record that an experiment fills in, and what opens it with a seed."""

    settings: type[Settings]
    open: Callable[[Any, int], Source]


SOURCES: dict[str, SourceEntry] = {
    "folder": SourceEntry(Folder, open_folder),
    "lc25000": SourceEntry(LC25000, open_lc25000),
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
