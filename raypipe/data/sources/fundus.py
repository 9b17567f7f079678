"""Fundus photographs graded for diabetic retinopathy, in the layout of two Kaggle competitions.

"Diabetic Retinopathy Detection" (EyePACS, 2015) has trainLabels.csv with `image,level`. "APTOS 2019 Blindness
Detection" has train.csv with `id_code,diagnosis`. Grades are 0 to 4 of the International Clinical Diabetic Retinopathy
scale (Wilkinson et al. 2003).
"""

import re
from functools import partial
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from raypipe.base.settings import Settings
from raypipe.data.published import Published
from raypipe.data.reading.annotations import read_header, read_rows
from raypipe.data.reading.listed import Fact, ListedSource, find_file, list_from_tables
from raypipe.data.reading.tree import Tree, open_tree
from raypipe.data.source import DataSet, Source, TileRef

GRADES = ("no_dr", "mild", "moderate", "severe", "proliferative")
REFERABLE = ("not_referable", "referable")
COLUMNS = (("image", "level"), ("id_code", "diagnosis"))
PATIENT = re.compile(r"^(\d+)_(?:left|right)$")

PUBLISHED = Published(
    title="Diabetic retinopathy, fundus photographs",
    layout="photographs in any folders, and a CSV with image,level or id_code,diagnosis",
    groups="patient of 10_left.jpeg is 10; APTOS names none",
    license="the competitions' rules: no redistribution",
    where="https://www.kaggle.com/c/diabetic-retinopathy-detection or "
    "https://www.kaggle.com/c/aptos2019-blindness-detection: with a Kaggle account, after accepting the rules",
    restriction="the competition's rules forbid to pass its photographs on",
)


class Fundus(Settings):
    """Settings of graded fundus photographs.

    Parameters
    ----------
    path
        Directory or zip archive, a local path or a URI, that holds the CSV and the photographs at any depth.
    table
        Name of the CSV, with the columns image and level, or id_code and diagnosis. None takes trainLabels.csv, or
        train.csv if that does not exist.
    classes
        ``grades``: all five grades. ``referable``: moderate and worse, against milder grades.
    per_class
        Number of photographs of each class to keep, in whole patients as far as possible. None keeps all.
    """

    source: Literal["fundus"] = "fundus"
    path: str
    table: str | None = None
    classes: Literal["grades", "referable"] = "grades"
    per_class: int | None = Field(default=None, ge=1)


def open_fundus(settings: Fundus, seed: int) -> Source:
    """Open graded fundus photographs, with both eyes of a patient in one group.

    Raises
    ------
    FileNotFoundError
        If `settings.path` does not exist.
    """
    tree = open_tree(settings.path)
    tables = (settings.table,) if settings.table else ("trainLabels.csv", "train.csv")
    return ListedSource(
        tree=tree,
        labels=GRADES if settings.classes == "grades" else REFERABLE,
        list_refs=partial(_list_refs, tree, tables, settings.classes == "referable"),
        per_class=settings.per_class,
        seed=seed,
        restriction=PUBLISHED.restriction,
    )


DATA_SET = DataSet(Fundus, open_fundus, PUBLISHED)


def _list_refs(tree: Tree, tables: tuple[str, ...], referable: bool) -> list[TileRef]:
    table = find_file(tree, *tables)
    where, data = f"{tree.location}/{table}", tree.read(table)
    header = read_header(data, where)
    columns = next((pair for pair in COLUMNS if set(pair) <= set(header)), COLUMNS[0])
    facts: dict[str, Fact | None] = {}
    for line, row in read_rows(data, where, columns):
        name, grade = (row[column] for column in columns)
        if grade not in ("0", "1", "2", "3", "4"):
            raise ValueError(f"{where}: line {line}: {columns[1]} is {grade!r:.100}; expected 0..4")
        if name in facts:
            raise ValueError(f"{where}: line {line} names {name} again; keep one")
        patient = PATIENT.match(name)
        label = REFERABLE[int(grade) >= 2] if referable else GRADES[int(grade)]
        facts[name] = Fact(label, patient[1] if patient else None)
    return list_from_tables(tree, facts, _get_stem, [table])


def _get_stem(path: str) -> str:
    return PurePosixPath(path).stem
