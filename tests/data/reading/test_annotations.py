"""Tables that accompany a data set: a file that is no such table is refused with its real kind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.data.reading.annotations import Annotation, match_annotations, name_few, read_annotations
from raypipe.data.source import TileRef
from raypipe.data.splits import read_split_file

WRONG = {
    "empty": (b"", "expected a header with filename and group, found none"),
    "other columns": (b"file;group\na;1\n", "expected a header with filename and group, found file, group"),
    "a column twice": (b"filename,group,group\na,1,2\n", "the header has group more than once"),
    "no text": (b"filename,group\n\xff\xfe,1\n", "expected UTF-8 text"),
    "open quotation": (
        b'filename,group\n"a,1\n' + b"b,2\n" * 50_000,
        r"line 2 is not CSV .*open quotation mark",
    ),
    "an endless field": (b"filename,group\na,1\nb," + b"x" * 200_000, "line 3 is not CSV"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_table_of_annotations_says_why(name: str, tmp_path: Path) -> None:
    content, message = WRONG[name]
    (tmp_path / "groups.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_annotations(str(tmp_path / "groups.csv"), "group")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables") / "table.csv"


TILES = [TileRef("x/a.png", "x", None, None), TileRef("y/b.png", "y", None, None)]
READERS: list[Callable[[str], object]] = [
    lambda location: read_annotations(location, "group"),
    lambda location: read_split_file(location, TILES),
]
lines = st.lists(st.sampled_from(["filename", "group", "split", "label", "a.png", "train", ",", '"', "\n", "\r", "\0"]))
contents = st.binary(max_size=100) | lines.map("".join).map(str.encode)
headed = st.tuples(st.sampled_from([b"filename,group\n", b"filename,label,split\n", b""]), contents).map(b"".join)


@settings(max_examples=200, deadline=None)
@given(headed, st.sampled_from(READERS))
def test_any_bytes_are_a_table_or_refused(table: Path, data: bytes, read: Callable[[str], object]) -> None:
    table.write_bytes(data)
    try:
        read(str(table))
    except ValueError as error:
        assert str(error).startswith(str(table)), "the message says which file"  # noqa: PT017


@pytest.mark.parametrize("missing", ["NA", "nan", "None", "#N/A", "NULL", " n/a "])
def test_a_missing_group_is_no_group(missing, tmp_path):
    (tmp_path / "g.csv").write_text(f"filename,group\na.png,{missing}\nb.png,P1\n")
    assert [row.filename for row in read_annotations(str(tmp_path / "g.csv"), "group")] == ["b.png"]


def test_white_space_around_values_and_names_of_columns_is_removed(tmp_path):
    (tmp_path / "g.csv").write_text(" filename , label,group \n a.png, x ,P1 \nb.png,x,P1\u00a0\n")
    rows = read_annotations(str(tmp_path / "g.csv"), "group")
    assert [(row.filename, row.label_name, row.value) for row in rows] == [("a.png", "x", "P1"), ("b.png", "x", "P1")]


@pytest.mark.parametrize("label", ["0", "X"])
def test_a_label_that_is_no_class_is_told(label):
    refs = [TileRef("x/a.png", "x", None), TileRef("y/b.png", "y", None)]
    rows = [Annotation("a.png", label, "P1"), Annotation("b.png", "y", "P2")]
    with pytest.raises(ValueError, match=f"x/a.png has the label '{label}', expected 'x'"):
        match_annotations(rows, refs, "g.csv")
    values, unknown = match_annotations([*rows, Annotation("x/a.png", "x", "P3")], refs, "g.csv")
    assert (values, unknown) == ({"x/a.png": "P3", "y/b.png": "P2"}, ["a.png"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "text",
    ["filename;group\na;P,1\n", "sep=;\nfilename;group\na;P,1\n", "\r\nfilename\tgroup\r\na\tP,1\r\n"],
)
def test_tables_of_spreadsheets_are_read(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_bytes(text.encode(encoding))
    (row,) = read_annotations(str(tmp_path / "g.csv"), "group")
    assert (row.filename, row.value) == ("a", "P,1")


def test_messages_show_a_few_examples():
    assert name_few(["b", "a"]) == "a, b"
    assert name_few("edcba") == "a, b, c and 2 more"
