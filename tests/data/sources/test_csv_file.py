"""Data sets that a CSV describes."""

from pathlib import Path

import pytest

from raypipe.data.source import TileRef
from raypipe.data.sources.csv_file import CsvFile, open_csv
from tests.data.layouts import png, write

FILES = {f"deep/{name}.png": png(1) for name in ("a", "b", "c", "d")}


def list_refs(folder: Path, text: str, **settings: object) -> list[TileRef]:
    table = Path(write(folder, FILES, as_zip=False)) / "tiles.csv"
    table.write_text(text)
    return list(open_csv(CsvFile.model_validate({"path": str(table), **settings}), 0).list())


@pytest.mark.parametrize("name", ["deep/{}.png", "./deep/{}.png", "deep\\{}.png", "{}.png", "deep/{}", "{}"])
def test_images_are_named_in_any_usual_way(name: str, tmp_path: Path) -> None:
    rows = [f"{name.format(each)},{label}" for each, label in zip("abcd", "xyxy", strict=True)]
    refs = list_refs(tmp_path, "\n".join(["filename,label", *rows]))
    assert [(ref.path, ref.label_name, ref.problem) for ref in refs] == [
        (f"deep/{each}.png", label, None) for each, label in zip("abcd", "xyxy", strict=True)
    ]


def test_groups_and_sides_come_from_columns(tmp_path: Path) -> None:
    text = "filename;label;who;set\na;x;P1;Train\nb;y;NA;valid\nc;x;P2;TEST\nd;y;P2;\n"
    refs = list_refs(tmp_path, text, group="who", split="set")
    assert [(ref.group, ref.official) for ref in refs] == [
        ("P1", "train"), (None, "train"), ("P2", "test"), ("P2", None),
    ]  # fmt: skip


def test_rows_without_a_file_or_a_class_are_named(tmp_path: Path) -> None:
    refs = list_refs(tmp_path, "filename,label\na,x\nb,y\nc,\ngone.png,x\n../../etc/passwd,x\n")
    problems = {ref.path: ref.problem for ref in refs if ref.problem}
    assert problems["deep/c.png"] == "no class in column label"
    assert "named by tiles.csv, and not in " in str(problems["gone.png"])
    assert "../../etc/passwd" in problems, "a name that the folder does not list is never opened"


def test_columns_of_zeros_and_ones_are_classes(tmp_path: Path) -> None:
    text = "filename,NV,MEL,BCC\na,1.0,0.0,0.0\nb,0,1,0\nc,0,0,0\nd,1,1,0\n"
    refs = list_refs(tmp_path, text, label=["NV", "MEL", "BCC"])
    assert [(ref.label_name, ref.problem) for ref in refs] == [
        ("NV", None), ("MEL", None), (None, "not one of NV, MEL, BCC is 1"), (None, "not one of NV, MEL, BCC is 1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("filename,label\na,x\na,y\nb,y\n", {}, "deep/a.png has both x and y; keep one"),
        ("filename,label\na,x\nb,x\n", {}, "column label has 1 classes"),
        ("filename,label\nq,x\nr,y\n", {}, "none of its 2 images, such as q, is in "),
        ("name,label\na,x\nb,y\n", {}, "expected a header with filename and label, found name, label"),
        ("filename,NV,MEL\na,1,0\nb,1,0\n", {"label": ["NV", "MEL"]}, "column NV, MEL has 1 classes"),
        (
            "filename,NV\na,1\nb,0\n",
            {"label": ["NV", "MEL"]},
            "expected a header with filename and NV and MEL, found filename, NV",
        ),
        ("filename,label,set\na,x,3\nb,y,4\n", {"split": "set"}, "column set has 3, 4; expected train, val or test"),
        ("filename,label\na,x\nb,y\n", {"malignant": ["z"]}, "malignant: no class z; there are x, y"),
    ],
)
def test_what_is_wrong_is_named(text: str, settings: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        list_refs(tmp_path, text, **settings)


def test_names_that_fit_several_files_are_refused(tmp_path: Path) -> None:
    table = Path(write(tmp_path, {"1/a.png": png(1), "2/a.png": png(2)}, as_zip=False)) / "t.csv"
    table.write_text("filename,label\na.png,x\n2/a.png,y\n")
    with pytest.raises(ValueError, match=r"'a\.png' fits 1/a\.png, 2/a\.png; give the path below"):
        open_csv(CsvFile(path=str(table)), 0).list()
