"""NIH ChestX-ray14: 112,120 frontal chest X-rays of 30,805 patients (Wang et al. 2017, CVPR, arXiv:1705.02315).

Data_Entry_2017.csv (or _v2020) lists each image's findings, of fourteen kinds. They were mined from radiology reports,
and about nine of ten are right. train_val_list.txt and test_list.txt give the published split, which keeps patients
apart. An image may show several findings, but a model here predicts one class. The setting `findings` maps findings to
classes.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from raypipe.base.settings import suggest_matches
from raypipe.data.class_choice import ClassChoice
from raypipe.data.published import Published, RemoteFile
from raypipe.data.reading.annotations import name_few, read_rows
from raypipe.data.reading.listed import Fact, ListedSource, find_file, list_from_tables
from raypipe.data.reading.tree import Tree, open_tree
from raypipe.data.source import DataSet, Source, Split, TileRef

NONE = "No Finding"
FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
PATIENT = re.compile(r"^(\d+)_")

ARCHIVES = (
    ("vfk49d74nhbxq3nqjg0900w5nvkorp5c", "fe8ed0a6961412fddcbb3603c11b3698"),
    ("i28rlmbvmfjbl8p2n3ril0pptcmcu9d1", "ab07a2d7cbe6f65ddd97b4ed7bde10bf"),
    ("f1t00wrtdk94satdfb9olcolqx20z2jp", "2301d03bde4c246388bad3876965d574"),
    ("0aowwzs5lhjrceb3qp67ahp0rd1l1etg", "9f1b7f5aae01b13f4bc8e2c44a4b8ef6"),
    ("v5e3goj22zr6h8tzualxfsqlqaygfbsn", "1861f3cd0ef7734df8104f2b0309023b"),
    ("asi7ikud9jwnkrnkj99jnpfkjdes7l6l", "456b53a8b351afd92a35bc41444c58c8"),
    ("jn1b4mw4n6lnh74ovmcjb8y48h8xj07n", "1075121ea20a137b87f290d6a4a5965e"),
    ("tvpxmn7qyrgl0w8wfh9kqfjskv6nmm1j", "b61f34cec3aa69f295fbb593cbd9d443"),
    ("upyy3ml7qdumlgk2rfcvlb9k6gvqq2pj", "442a3caa61ae9b64e61c561294d1e183"),
    ("l6nilvfa9cg3s28tqv1qc1olm3gnz54p", "09ec81c4c31e32858ad8cf965c494b74"),
    ("hhq8fkdgvcari67vfhs7ppg2w6ni4jze", "499aefc67207a5a97692424cf5dbeed5"),
    ("ioqwiy20ihqwyr8pf4c24eazhh281pbu", "dc9fda1757c2de0032b63347a7d2895c"),
)
"""Links of NIH's batch_download_zips.py, and checksums of its FAQ_CHESTXRAY.pdf."""

PUBLISHED = Published(
    title="NIH ChestX-ray14, chest X-rays",
    layout="images in any folders, Data_Entry_2017.csv, train_val_list.txt, test_list.txt",
    groups="patient, from the file name; the published split keeps them apart",
    license="unrestricted: link to the NIH Clinical Center, acknowledge it, cite the paper",
    where="https://nihcc.app.box.com/v/ChestXray-NIHCC: Data_Entry_2017_v2020.csv and the two lists have no address "
    "that a program could take",
    files=tuple(
        RemoteFile(f"images_{number:03}.tar.gz", f"https://nihcc.box.com/shared/static/{link}.gz", f"md5:{checksum}")
        for number, (link, checksum) in enumerate(ARCHIVES, start=1)
    ),
    then="unpack all into one folder; put Data_Entry_2017_v2020.csv, train_val_list.txt and test_list.txt there",
)


class ChestXray14(ClassChoice):
    """Settings of ChestX-ray14.

    Parameters
    ----------
    path
        Directory or zip archive, a local path or a URI, that holds the table, the two lists and the images at any
        depth.
    findings
        Findings of each class, by class. By default "normal" is No Finding and "finding" is any of the fourteen. An
        image has the class that one of its findings belongs to. Images without a finding of any class are not part of
        the data set.
    several
        Treatment of images whose findings belong to several classes. ``aside`` rejects them. ``first`` takes the class
        that comes first in `findings`.
    per_class
        Number of images of each class to keep, in whole patients as far as possible. None keeps all.
    """

    source: Literal["chest_xray14"] = "chest_xray14"
    path: str
    findings: dict[str, tuple[str, ...]] = Field(default={"normal": (NONE,), "finding": FINDINGS}, min_length=2)
    several: Literal["aside", "first"] = "aside"
    per_class: int | None = Field(default=None, ge=1)

    @field_validator("findings")
    @classmethod
    def _each_is_one_class(cls, findings: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        taken: dict[str, str] = {}
        for name, members in findings.items():
            if not members:
                raise ValueError(f"{name}: expected at least one finding")
            for finding in members:
                if finding not in (*FINDINGS, NONE):
                    near = suggest_matches(finding, (*FINDINGS, NONE))
                    raise ValueError(f"{name}: no finding {finding!r}{near}; there are {', '.join((*FINDINGS, NONE))}")
                if taken.setdefault(finding, name) != name:
                    raise ValueError(f"{finding} is in {taken[finding]} and in {name}; leave it in one")
        return findings


def open_chest_xray14(settings: ChestXray14, seed: int) -> Source:
    """Open ChestX-ray14 with patients as groups. Its published split is ``tiles.split: official``.

    Raises
    ------
    FileNotFoundError
        If `settings.path` does not exist.
    """
    tree = open_tree(settings.path)
    return ListedSource(
        tree=tree,
        labels=tuple(settings.findings),
        list_refs=partial(_list_refs, tree, settings.findings, settings.several),
        per_class=settings.per_class,
        seed=seed,
    )


DATA_SET = DataSet(ChestXray14, open_chest_xray14, PUBLISHED)


def _list_refs(tree: Tree, classes: Mapping[str, tuple[str, ...]], several: str) -> list[TileRef]:
    table = find_file(tree, *TABLES)
    lists: dict[Split, str] = {
        "train": find_file(tree, "train_val_list.txt"),
        "test": find_file(tree, "test_list.txt"),
    }
    sides: dict[str, Split] = {}
    for side, path in lists.items():
        for name in _read_names(tree, path):
            if sides.setdefault(name, side) != side:
                raise ValueError(f"{tree.location}: {name} is in both {lists['train']} and {lists['test']}; keep one")
    facts: dict[str, Fact | None] = {}
    where = f"{tree.location}/{table}"
    for line, row in read_rows(tree.read(table), where, ("Image Index", "Finding Labels")):
        name = row["Image Index"]
        if name in facts:
            raise ValueError(f"{where}: line {line} names {name} again; keep one")
        found = row["Finding Labels"].split("|")
        if unknown := set(found) - {*FINDINGS, NONE}:
            raise ValueError(f"{where}: line {line}: no findings are {name_few(map(repr, unknown))}")
        facts[name] = _read_fact(name, found, classes, several, sides.get(name))
    return list_from_tables(tree, facts, _get_base_name, [table, *lists.values()])


def _read_fact(
    name: str, findings: list[str], classes: Mapping[str, tuple[str, ...]], several: str, side: Split | None
) -> Fact | None:
    labels = [label for label, members in classes.items() if set(members) & set(findings)]
    patient = PATIENT.match(name)
    if not labels:
        return None
    if len(labels) > 1 and several == "aside":
        return Fact(None, problem=f"its findings belong to several classes: {', '.join(labels)}")
    return Fact(labels[0], patient[1] if patient else None, side)


def _read_names(tree: Tree, path: str) -> list[str]:
    try:
        return tree.read(path).decode("utf-8-sig").split()
    except UnicodeDecodeError as error:
        raise ValueError(f"{tree.location}/{path}: expected UTF-8 text ({error})") from error


def _get_base_name(path: str) -> str:
    return PurePosixPath(path).name
