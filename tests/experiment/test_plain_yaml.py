"""YAML of experiment files: version 1.2 without repeated keys."""

from pathlib import Path

import pytest

from raypipe.base.errors import ConfigError
from raypipe.experiment.load import read_experiment


def read(text: str, folder: Path) -> dict[str, object]:
    (folder / "e.yaml").write_text(text)
    return read_experiment(folder / "e.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("0o10", 8), ("0x1F", 31), ("-3", -3), ("1:30", "1:30"), ("1_000", "1_000"),
        ("yes", "yes"), ("off", "off"), ("true", True), ("FALSE", False),
        ("1e-3", 0.001), (".5", 0.5), ("-.inf", float("-inf")), ("1.", 1.0),
        ("~", None), ("null", None), ("", None), ("2020-01-01", "2020-01-01"), ("'010'", "010"), ("8/255", "8/255"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_version_1_2(text: str, value: object, tmp_path: Path) -> None:
    found = read(f"key: {text}", tmp_path)["key"]
    assert (found, type(found)) == (value, type(value))


def test_merge_keys_work(tmp_path: Path) -> None:
    assert read("a: &a {k: 1}\nb: {<<: *a, l: 2}", tmp_path)["b"] == {"k": 1, "l": 2}


def test_every_repeated_key_is_told_with_both_lines(tmp_path: Path) -> None:
    text = "models:\n  a: {name: x}\n  'a': {name: y}\ntrain: {epochs: 1}\nname: t\ntrain: {epochs: 2}\n"
    with pytest.raises(ConfigError) as told:
        read(text, tmp_path)
    (problem,) = told.value.problems
    assert problem == (
        "has the key 'a' twice, in line 2 and in line 3; the key 'train' twice, in line 4 and in line 6; "
        "keep one of each"
    )


def test_one_key_in_two_mappings_is_not_repeated(tmp_path: Path) -> None:
    assert read("a: {eps: 1}\nb: {eps: 2}", tmp_path) == {"a": {"eps": 1}, "b": {"eps": 2}}
