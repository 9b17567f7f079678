"""LC25000: 25,000 tiles of lung and colon tissue in five classes (Borkowski et al. 2019, arXiv:1912.12142).

Each tile is one of about twenty augmentations of one of 250 source tiles a class. Which ones are siblings is not
part of the data set; the annotations of LC25000-clean (Batch et al., MICCAI-DEMI 2024) say it.
"""

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from raypipe.data.listed import ListedSource
from raypipe.data.sources import Source
from raypipe.data.tree import open_tree
from raypipe.settings import Settings

LABELS = ("colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc")
MALIGNANT = ("colon_aca", "lung_aca", "lung_scc")


class LC25000(Settings):
    """Where LC25000 is and how much of it to take.

    Attributes
    ----------
    path
        Directory or zip archive, local or a URI, that holds the folders colon_aca, ..., lung_scc at any depth.
    groups
        CSV with the columns filename, label and group; without it only the leaky random split is possible.
    per_class
        Keep this many tiles of each class, in whole groups as far as possible; all by default.
    """

    source: Literal["lc25000"] = "lc25000"
    path: str
    groups: str | None = None
    per_class: int | None = Field(default=None, ge=1)


def open_lc25000(settings: LC25000, seed: int) -> Source:
    """Open LC25000 as its author published it; FileNotFoundError where there is nothing at `settings.path`."""
    return ListedSource(
        tree=open_tree(settings.path),
        labels=LABELS,
        class_of=_parent_folder,
        groups=settings.groups,
        group_pattern=None,
        per_class=settings.per_class,
        seed=seed,
        malignant=MALIGNANT,
    )


def _parent_folder(path: str) -> str:
    return PurePosixPath(path).parent.name
