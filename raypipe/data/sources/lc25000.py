"""LC25000: 25,000 tiles of lung and colon tissue in five classes (Borkowski et al. 2019, arXiv:1912.12142).

Each tile is one of about twenty augmentations of one of 250 source tiles of its class. The data set does not state
which tiles are siblings. The annotations of LC25000-clean (Batch et al., MICCAI-DEMI 2024) do.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from raypipe.data.class_choice import ClassChoice
from raypipe.data.published import Published
from raypipe.data.reading.listed import ListedSource, list_class_folders
from raypipe.data.reading.parquet_tree import ParquetTree, contains_parquet, open_parquet_tree
from raypipe.data.reading.tree import open_tree
from raypipe.data.source import DataSet, Source, TileRef
from raypipe.data.sources.parquet import read_label_names, read_labeled_rows

LABELS = ("colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc")
MALIGNANT = ("colon_aca", "lung_aca", "lung_scc")

PUBLISHED = Published(
    title="LC25000, lung and colon tissue",
    layout="folders colon_aca ... lung_scc at any depth, or Parquet with organ and label",
    groups="a CSV, from LC25000-clean",
    license="free for AI researchers, no formal license",
    where="LC25000.zip, 1.85 GB, by a torrent: https://github.com/tampapath/lung_colon_image_set; Parquet: "
    "https://huggingface.co/datasets/1aurent/LC25000; groups: https://github.com/GeorgeBatch/LC25000-clean",
)


class LC25000(ClassChoice):
    """Settings of LC25000.

    Parameters
    ----------
    path
        Directory or zip archive, a local path or a URI, that holds the folders colon_aca, ..., lung_scc at any depth.
        Or Parquet files with the columns image and label, whose classes have these names, or image, organ and label.
    groups
        CSV with the columns filename, label and group. Without it only the leaky random split is possible. For Parquet
        files it uses the images' names, if the files contain them.
    per_class
        Number of tiles of each class to keep, in whole groups as far as possible. None keeps all.
    """

    source: Literal["lc25000"] = "lc25000"
    path: str
    groups: str | None = None
    per_class: int | None = Field(default=None, ge=1)


def open_lc25000(settings: LC25000, seed: int) -> Source:
    """Open LC25000 in its original layout or as Parquet.

    Raises
    ------
    FileNotFoundError
        If `settings.path` does not exist.
    ValueError
        If Parquet files have other classes.
    """
    as_rows = contains_parquet(settings.path)
    tree = open_parquet_tree(settings.path, "image") if as_rows else open_tree(settings.path)
    list_refs = (
        partial(_read_rows, tree)
        if isinstance(tree, ParquetTree)
        else partial(list_class_folders, tree, LABELS, _get_parent_folder)
    )
    return ListedSource(
        tree=tree,
        labels=LABELS,
        list_refs=list_refs,
        groups=settings.groups,
        per_class=settings.per_class,
        seed=seed,
        malignant=MALIGNANT,
    )


DATA_SET = DataSet(LC25000, open_lc25000, PUBLISHED)


def _get_parent_folder(path: str) -> str:
    return PurePosixPath(path).parent.name


def _read_rows(tree: ParquetTree) -> Iterator[TileRef]:
    for name in tree.names():
        with_organ = "organ" in tree.schema(name).names
        organs = read_label_names(tree, name, "organ")
        for path, label, row in read_labeled_rows(tree, name, "label", *(["organ"] if with_organ else [])):
            organ = row.get("organ")
            if isinstance(organ, int) and organs is not None:
                organ = organs[organ] if 0 <= organ < len(organs) else None
            yield TileRef(path, _find_class(f"{organ or ''} {label}", f"{tree.location}/{path}"), None)


def _find_class(words: str, where: str) -> str:
    """Return the class for a row's organ and label, in this data set's words or in plain ones."""
    words = words.lower()
    organs = [organ for organ in ("colon", "lung") if organ in words]
    rest = words.replace("colon", "").replace("lung", "").strip(" _")
    kinds = [kind for kind, beginnings in KINDS.items() if rest.startswith(beginnings)]
    found = f"{organs[0]}_{kinds[0]}" if len(organs) == len(kinds) == 1 else ""
    if found not in LABELS:
        raise ValueError(f"{where}: its class is {words.strip()!r}; expected one of {', '.join(LABELS)}")
    return found


KINDS = {"aca": ("aca", "adeno"), "n": ("n", "benign"), "scc": ("scc", "squamous")}
"""Prefixes of a label without its organ, by the second part of the class name."""
