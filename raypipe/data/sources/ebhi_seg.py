"""EBHI-Seg: 2,228 tiles of colon biopsies, H&E, in six classes (Shi et al. 2023, Frontiers in Medicine 10:1114673).

The data set was made for segmentation: masks lie beside the tiles of each class, and are not tiles. File names are
GT<case>-<slide>-400-<number>. One case has names with and without a prefix, so only its number counts.
"""

from functools import partial
from typing import Literal

from pydantic import Field

from raypipe.data.class_choice import ClassChoice
from raypipe.data.published import Published, RemoteFile
from raypipe.data.reading.listed import ListedSource, list_class_folders
from raypipe.data.reading.tree import open_tree
from raypipe.data.source import DataSet, Source
from raypipe.data.sources.folder import get_top_folder

LABELS = ("Adenocarcinoma", "High-grade_IN", "Low-grade_IN", "Normal", "Polyp", "Serrated_adenoma")
WRITTEN = {"_".join(label.lower().split("_")): label for label in LABELS}
CASE = r"^\D*(\d+)-"
NO_MASK = r"^(?!(?:.*/)?label/)"

PUBLISHED = Published(
    title="EBHI-Seg, colon biopsies",
    layout="<class>/image/GT<case>-<slide>-400-<n>.png beside <class>/label, or <class>/*.jpg",
    groups="case, from the file name",
    license="CC BY 4.0",
    where="https://doi.org/10.6084/m9.figshare.21540159",
    files=(RemoteFile("EBHI-SEG.rar", "https://figshare.com/ndownloader/files/38179080"),),
    then="unpack EBHI-SEG.rar, with unar or unrar; path is the folder in it",
)


class EBHISeg(ClassChoice):
    """Settings of EBHI-Seg.

    Parameters
    ----------
    path
        Directory or zip archive, a local path or a URI, with a folder for each class. Tiles are directly in that folder
        or in its subfolder image.
    per_class
        Number of tiles of each class to keep, in whole cases as far as possible. None keeps all.
    """

    source: Literal["ebhi_seg"] = "ebhi_seg"
    path: str
    per_class: int | None = Field(default=None, ge=1)


def open_ebhi_seg(settings: EBHISeg, seed: int) -> Source:
    """Open EBHI-Seg with cases as groups.

    Raises
    ------
    FileNotFoundError
        If `settings.path` does not exist.
    """
    tree = open_tree(settings.path)
    return ListedSource(
        tree=tree,
        labels=LABELS,
        list_refs=partial(list_class_folders, tree, LABELS, _get_class_folder, NO_MASK),
        group_pattern=CASE,
        per_class=settings.per_class,
        seed=seed,
        malignant=("Adenocarcinoma",),
    )


DATA_SET = DataSet(EBHISeg, open_ebhi_seg, PUBLISHED)


def _get_class_folder(path: str) -> str:
    """Return the class in a path, which may be below a folder of the archive and may contain spaces."""
    for part in path.split("/")[:-1]:
        if label := WRITTEN.get(part.lower().replace(" ", "_")):
            return label
    return get_top_folder(path)
