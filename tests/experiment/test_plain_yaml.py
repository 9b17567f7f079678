"""YAML of experiment files: version 1.2 without repeated keys."""

from pathlib import Path

import pytest

from raypipe.base.errors import ConfigError
from raypipe.experiment.load import load_experiment, read_experiment


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


EXPERIMENT = """name: t
data: {source: synthetic}
models: [convnet]
attacks:
  pgd: {eps: 4/255}
train:
  epochs: 3
"""
WRONG = {
    "epochs: 1_0": ("epochs: 3", r"train\.epochs = '1_0': expected a number without underscores \(line 7\)"),
    "epochs: true": ("epochs: 3", r"train\.epochs = True: expected a number, not true \(line 7\)"),
    "epochs: yes": ("epochs: 3", r"train\.epochs = 'yes': input should be a valid integer, .* \(line 7\)"),
    "epochs: 0b1": ("epochs: 3", r"train\.epochs = '0b1': .* \(line 7\)"),
    "epochs: 1:30": ("epochs: 3", r"train\.epochs = '1:30': .* \(line 7\)"),
    "epochs: 2020-01-01": ("epochs: 3", r"train\.epochs = '2020-01-01': .* \(line 7\)"),
    "epoch: 3": ("epochs: 3", r"train\.epoch: no such setting; did you mean 'epochs'\? \(line 7\)"),
    "pgd: {eps: 4_0/255}": ("pgd: {eps: 4/255}", r"attacks\.pgd\.eps = '4_0/255': .* \(line 5\)"),
    "pgd: {norm: l3}": ("pgd: {eps: 4/255}", r"attacks\.pgd.* \(line 5\)"),
    "name: 010": ("name: t", r"name = 10: input should be a valid string; put it in quotes \(line 1\)"),
    f"epochs: {2**64}": ("epochs: 3", f"the number {2**64} in line 7; none may have more than 64 bits"),
    "epochs:\t3": ("epochs: 3", r"line 7, column 10: .*write spaces instead of tabs"),
    "epochs: \0": ("epochs: 3", "is not YAML: line 7: the character 0x0 is not allowed"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_error_names_the_line_of_its_setting(wrong: str, tmp_path: Path) -> None:
    right, message = WRONG[wrong]
    (tmp_path / "e.yaml").write_text(EXPERIMENT.replace(right, wrong))
    with pytest.raises(ConfigError, match=message) as caught:
        load_experiment(tmp_path / "e.yaml")
    assert len(caught.value.problems) == 1


def test_an_override_and_a_section_that_is_missing_have_no_line(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(EXPERIMENT.replace("models: [convnet]\n", ""))
    with pytest.raises(ConfigError) as caught:
        load_experiment(tmp_path / "e.yaml", ["train.epochs=1_0"])
    assert not any("line" in problem for problem in caught.value.problems)


def test_a_merged_setting_has_the_line_where_it_stands(tmp_path: Path) -> None:
    merged = "pgd: &a {eps: 4/255, restarts: 0}\n  other: {<<: *a, name: pgd, restarts: 1}"
    (tmp_path / "e.yaml").write_text(EXPERIMENT.replace("pgd: {eps: 4/255}", merged))
    with pytest.raises(ConfigError, match=r"attacks\.pgd\.restarts = 0: .* \(line 5\)$"):
        load_experiment(tmp_path / "e.yaml")
