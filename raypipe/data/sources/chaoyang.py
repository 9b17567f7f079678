"""Chaoyang: 6,160 tiles of colon slides in four classes (Zhu et al. 2022, IEEE TMI 41:4).

The paper is "Hard Sample Aware Noise Robust Learning for Histopathology Image Classification".

train.json and test.json each hold a list of {"name": "train/535940-IMG009x024-2.JPG", "label": 2}. A later list for the
training tiles alone, train_label.json, gives the label of each of three pathologists: label_A, label_B, label_C. They
agree on every test tile but not on every training tile, so training labels are noisy.

No patient is named. The number at the start of a file's name groups tiles here. Tiles with one number are of one slide
or case, but nothing published states that a patient has only one number.
"""

import json
from collections import Counter
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import Field

from raypipe.data.class_choice import ClassChoice
from raypipe.data.published import Published
from raypipe.data.reading.listed import Fact, ListedSource, find_file, list_from_tables
from raypipe.data.reading.tree import Tree, open_tree
from raypipe.data.source import DataSet, Source, Split, TileRef

LABELS = ("normal", "serrated", "adenocarcinoma", "adenoma")
NUMBER = r"^(\d+)"
ANNOTATORS = ("label_A", "label_B", "label_C")

PUBLISHED = Published(
    title="Chaoyang, colon slides",
    layout="train/, test/, train.json, test.json: [{name, label}]; or train_label.json with label_A to label_C",
    groups="the number that begins the file name: a slide or case, no patient is named",
    license="non-commercial, no redistribution of it or of modified versions",
    where="https://bupt-ai-cz.github.io/HSA-NRL/: by a form, to be used for research and not to be passed on",
    restriction="Chaoyang's license forbids to pass on its tiles and modified versions of them",
)


class Chaoyang(ClassChoice):
    """Settings of Chaoyang.

    Parameters
    ----------
    path
        Directory or zip archive, a local path or a URI, that holds train.json and test.json, and the tiles at the paths
        that these give.
    per_class
        Number of tiles of each class to keep, in whole groups as far as possible. None keeps all.
    """

    source: Literal["chaoyang"] = "chaoyang"
    path: str
    per_class: int | None = Field(default=None, ge=1)


def open_chaoyang(settings: Chaoyang, seed: int) -> Source:
    """Open Chaoyang. Its published split is ``tiles.split: official``.

    Raises
    ------
    FileNotFoundError
        If `settings.path` does not exist.
    """
    tree = open_tree(settings.path)
    return ListedSource(
        tree=tree,
        labels=LABELS,
        list_refs=partial(_list_refs, tree),
        group_pattern=NUMBER,
        per_class=settings.per_class,
        seed=seed,
        malignant=("adenocarcinoma",),
        restriction=PUBLISHED.restriction,
    )


DATA_SET = DataSet(Chaoyang, open_chaoyang, PUBLISHED)


def _list_refs(tree: Tree) -> list[TileRef]:
    tables: dict[Split, str] = {
        "train": find_file(tree, "train.json", "train_label.json"),
        "test": find_file(tree, "test.json"),
    }
    facts: dict[str, Fact | None] = {}
    for side, table in tables.items():
        for name, label, problem in _list_entries(tree, table):
            path = str(PurePosixPath(table).parent / name)
            if path in facts:
                raise ValueError(f"{tree.location}/{table}: {name} is named twice, here or in the other list; keep one")
            facts[path] = Fact(label, official=side, problem=problem)
    if not {entry.path for entry in tree.list_files()} & facts.keys():
        raise ValueError(
            f"{tree.location}: none of its files is named by {' or '.join(tables.values())}, such as "
            f"{next(iter(facts), 'none')}; unpack train/ and test/ beside them"
        )
    return list_from_tables(tree, facts, str, [*tables.values()])


def _list_entries(tree: Tree, table: str) -> list[tuple[str, str | None, str | None]]:
    """Return name, class and problem of every entry of a list. The class is None if there is a problem."""
    where = f"{tree.location}/{table}"
    try:
        entries = json.loads(tree.read(table))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{where}: is not JSON ({error})") from error
    if isinstance(entries, list):
        return [_read_entry(entry, f"{where}: entry {number}") for number, entry in enumerate(entries, start=1)]
    raise ValueError(f"{where}: expected a list of {{name, label}}, found {type(entries).__name__}")


def _read_entry(entry: Any, where: str) -> tuple[str, str | None, str | None]:
    match entry:
        case {"name": str(name)}:
            votes = [entry[key] for key in (["label"] if "label" in entry else ANNOTATORS) if key in entry]
        case _:
            raise ValueError(f"{where}: expected {{name, label}}")
    if not votes or any(type(label) is not int or not 0 <= label < len(LABELS) for label in votes):
        raise ValueError(f"{where}: label is {votes!r:.100}; expected 0..{len(LABELS) - 1}, or {', '.join(ANNOTATORS)}")
    label, count = Counter(votes).most_common(1)[0]
    if 2 * count <= len(votes):
        return name, None, f"no two of the pathologists agree: {', '.join(LABELS[each] for each in votes)}"
    return name, LABELS[label], None
