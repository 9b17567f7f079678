"""BreakHis: 7,909 tiles of breast tumors of 82 patients, in four magnifications (Spanhol et al. 2016, IEEE TBME 63:7).

The file name holds all facts. SOB_B_A-14-22549AB-40-001.png is a biopsy (SOB) of a benign (B) adenosis (A) of the year
14, slide 22549AB, magnified 40 times, number 001. Year and slide identify the patient. Slide 13412 occurs among both
ductal and lobular carcinomas, and stays on one side of a split.
"""

import re
from functools import partial
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from raypipe.base.settings import Settings
from raypipe.data.published import Published, RemoteFile
from raypipe.data.reading.listed import ListedSource, list_class_folders
from raypipe.data.reading.tree import open_tree
from raypipe.data.source import DataSet, Source

KINDS = ("benign", "malignant")
SUBTYPES = {
    "A": "adenosis", "F": "fibroadenoma", "PT": "phyllodes_tumor", "TA": "tubular_adenoma",
    "DC": "ductal_carcinoma", "LC": "lobular_carcinoma", "MC": "mucinous_carcinoma", "PC": "papillary_carcinoma",
}  # fmt: skip
CARCINOMAS = ("ductal_carcinoma", "lobular_carcinoma", "mucinous_carcinoma", "papillary_carcinoma")
NAME = re.compile(r"^[A-Z]+_(?P<kind>[BM])_(?P<subtype>[A-Z]+)-\d+-\w+-\d+-\d+\.")
PATIENT = r"^[A-Z]+_[BM]_[A-Z]+-(\d+-\w+)-\d+-\d+\."

PUBLISHED = Published(
    title="BreakHis, breast tumours",
    layout="SOB_B_A-14-22549AB-40-001.png, in any folders",
    groups="patient, from the file name",
    license="CC BY 4.0",
    where="https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis/",
    files=(RemoteFile("BreaKHis_v1.tar.gz", "http://www.inf.ufpr.br/vri/databases/BreaKHis_v1.tar.gz"),),
    then="unpack it: tar -xzf BreaKHis_v1.tar.gz; path is the folder BreaKHis_v1",
)


class BreakHis(Settings):
    """Settings of BreakHis.

    Parameters
    ----------
    path
        Directory or zip archive, a local path or a URI.
    magnification
        40, 100, 200 or 400. None takes all. Tiles of one place in several magnifications belong to one patient, and a
        split by group never separates them.
    classes
        ``kinds``: benign and malignant. ``subtypes``: the four benign and four malignant tumors.
    per_class
        Number of tiles of each class to keep, in whole patients as far as possible. None keeps all.
    """

    source: Literal["breakhis"] = "breakhis"
    path: str
    magnification: Literal[40, 100, 200, 400] | None = None
    classes: Literal["kinds", "subtypes"] = "kinds"
    per_class: int | None = Field(default=None, ge=1)


def open_breakhis(settings: BreakHis, seed: int) -> Source:
    """Open BreakHis with patients as groups.

    Raises
    ------
    FileNotFoundError
        If `settings.path` does not exist.
    """
    tree = open_tree(settings.path)
    kinds = settings.classes == "kinds"
    labels = KINDS if kinds else tuple(SUBTYPES.values())
    # A file with another magnification is not part of the data set. A file without one is rejected.
    only = (
        rf"-{settings.magnification}-\d+\.\w+$|^(?!.*-(?:40|100|200|400)-\d+\.\w+$)" if settings.magnification else None
    )
    return ListedSource(
        tree=tree,
        labels=labels,
        list_refs=partial(list_class_folders, tree, labels, _read_kind if kinds else _read_subtype, only),
        group_pattern=PATIENT,
        per_class=settings.per_class,
        seed=seed,
        malignant=("malignant",) if kinds else CARCINOMAS,
    )


DATA_SET = DataSet(BreakHis, open_breakhis, PUBLISHED)


def _read_kind(path: str) -> str:
    match = NAME.match(PurePosixPath(path).name)
    return {"B": "benign", "M": "malignant"}[match["kind"]] if match else ""


def _read_subtype(path: str) -> str:
    match = NAME.match(PurePosixPath(path).name)
    return SUBTYPES.get(match["subtype"], "") if match else ""
