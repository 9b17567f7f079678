"""Tables that accompany a data set: a file that is no such table is refused with its real kind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.data.reading.annotations import read_annotations
from raypipe.data.source import TileRef
from raypipe.data.splits import read_split_file

WRONG = {
    "empty": (b"", "expected a header with filename and group, found none"),
    "other columns": (b"file;group\na;1\n", "expected a header with filename and group"),
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
