"""Groups of listed tiles, from a table or a pattern, and limits on their number."""

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from raypipe.data.reading.listed import limit_per_class
from raypipe.data.source import TileRef
from raypipe.data.sources import open_source
from raypipe.data.sources.folder import Folder
from tests.data.layouts import FOLDER_FILES, write


def test_folder_groups_are_a_table_or_a_pattern(tmp_path):
    with pytest.raises(ValidationError, match="expected one of them, found both"):
        Folder(path="tiles", groups="groups.csv", group_pattern="(a)")
    with pytest.raises(ValidationError, match="expected a capture group"):
        Folder(path="tiles", group_pattern=r"^GT\d+")
    with pytest.raises(ValidationError, match=r"'\(': expected a regular expression"):
        Folder(path="tiles", group_pattern="(")
    path = write(tmp_path, FOLDER_FILES, as_zip=False)
    with pytest.raises(ValueError, match=r"group_pattern = .* fits none of the 4 file names, such as Normal/deep"):
        open_source(Folder(path=path, group_pattern="(case)"), seed=3).list()


def groups_of(tmp_path: Path, table: str) -> dict[str, str | None]:
    (tmp_path / "groups.csv").write_text(table)
    path = write(tmp_path, FOLDER_FILES, as_zip=False)
    source = open_source(Folder(path=path, groups=str(tmp_path / "groups.csv")), seed=3)
    return {ref.path: ref.group for ref in source.list() if ref.problem is None}


def test_a_groups_table_names_tiles_by_path_by_base_name_or_with_the_label(tmp_path):
    assert groups_of(tmp_path, "filename,group\nPolyp/GT1-1-400-001.jpg,a\nnotes.jpg,b\n") == {
        "Normal/deep/er/GT1-1-400-001.jpg": None,
        "Normal/notes.jpg": "b",
        "Polyp/GT1-1-400-001.jpg": "a",
        "Polyp/GT2-1-400-001.jpg": None,
    }
    labeled = groups_of(tmp_path, "\ufefffilename,label,group\nGT1-1-400-001.jpg,Polyp,a\nGT1-1-400-001.jpg,Normal,b\n")
    assert labeled["Polyp/GT1-1-400-001.jpg"] == "a"
    assert labeled["Normal/deep/er/GT1-1-400-001.jpg"] == "b"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,group\na,b\n", r"expected a header with filename and group, found name, group"),
        ("", r"expected a header with filename and group, found none"),
        ("filename,group\nGT1-1-400-001.jpg,a\n", r"fits Normal/deep/er/GT1-1-400-001.jpg, Polyp/.*or a label column"),
        ("filename,group\nnotes.jpg,a\nNormal/notes.jpg,b\n", r"Normal/notes.jpg has both 'a' and 'b'; keep one"),
        ("filename,group\nother.jpg,a\n", r"names none of the 4 tiles, such as Normal/deep/er/GT1-1-400-001.jpg"),
    ],
)
def test_a_groups_table_that_cannot_be_meant_is_refused(table, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        groups_of(tmp_path, table)


def test_a_limit_keeps_whole_groups_and_exactly_the_count():
    refs = [TileRef(f"a/{group}{tile}.png", "a", group) for group in "pqrstu" for tile in range(4)]
    refs += [TileRef(f"b/{tile}.png", "b", None) for tile in range(5)]
    kept = limit_per_class(refs, 10, seed=1)
    assert Counter(ref.label_name for ref in kept) == {"a": 10, "b": 5}
    assert sorted(Counter(ref.group for ref in kept if ref.group).values()) == [2, 4, 4]
    assert limit_per_class(reversed(refs), 10, seed=1) == kept
    choices = {tuple(limit_per_class(refs, 10, seed)) for seed in range(5)}
    assert len(choices) > 1


def test_a_limit_takes_the_same_groups_for_every_label():
    refs = [TileRef(f"{label}/{case}.png", label, str(case)) for label in "ab" for case in range(20)]
    kept = limit_per_class(refs, 5, seed=1)
    assert {ref.group for ref in kept if ref.label_name == "a"} == {ref.group for ref in kept if ref.label_name == "b"}
