"""Data sets by name. To add one, write a file that exports a `DATA_SET`, and add it to `SOURCES`."""

from typing import Annotated

from pydantic import SerializeAsAny

from raypipe.base.settings import Settings, choose_by, index_by_name
from raypipe.data.class_choice import ClassChoice, choose_classes
from raypipe.data.source import DataSet, Source
from raypipe.data.sources import (
    areds,
    breakhis,
    chaoyang,
    chest_xray14,
    csv_file,
    ebhi_seg,
    folder,
    fundus,
    lc25000,
    medmnist,
    parquet,
    synthetic,
)

SOURCES: dict[str, DataSet] = index_by_name(
    lambda data_set: data_set.name,
    areds.DATA_SET,
    breakhis.DATA_SET,
    chaoyang.DATA_SET,
    chest_xray14.DATA_SET,
    csv_file.DATA_SET,
    ebhi_seg.DATA_SET,
    folder.DATA_SET,
    fundus.DATA_SET,
    lc25000.DATA_SET,
    medmnist.DATA_SET,
    parquet.DATA_SET,
    synthetic.DATA_SET,
)
"""The data sets, by the default ``source`` of their settings."""

AnySource = Annotated[
    SerializeAsAny[Settings], choose_by("source", {name: entry.settings for name, entry in SOURCES.items()})
]
"""The settings of any data set. A field of this type takes ``{"source": "folder", ...}``."""


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
    ValueError
        If the settings choose a class that the data set does not have.
    TypeError
        If the settings are not those of a data set.
    """
    for entry in SOURCES.values():
        if type(settings) is entry.settings:
            source = entry.open(settings, seed)
            classes = settings.classes if isinstance(settings, ClassChoice) else None
            return choose_classes(source, classes) if classes else source
    names = ", ".join(entry.settings.__name__ for entry in SOURCES.values())
    raise TypeError(f"expected the settings of a data set ({names}), got {type(settings).__name__}")
