"""Experiment files that an attacker wrote, or that are damaged: an experiment or an error, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.base.errors import ConfigError
from raypipe.experiment.load import load_experiment, validate_experiment
from raypipe.experiment.schema import Experiment
from tests.experiment.minimal import MINIMAL, write


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not YAML"):
        load_experiment(write(tmp_path, "name: !!python/object/apply:os.getcwd []"))


BOMBS = {
    "aliases": ("a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 12)), "aliases"),
    "merges": (
        "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{f'*a{n - 1}, ' * 9}]}}\n" for n in range(1, 12)),
        "aliases",
    ),
    "itself": ("name: &a [*a]", "aliases"),
    "depth": ("[" * 2_000, "nested too deeply"),
    "number": ("seed: 0x" + "f" * 10_000, r"the number 0xf{23}\.\.\. in line 1; none may have more than 64 bits"),
    "sexagesimal": ("seed: 1" + ":59" * 20_000, r"seed = '1:59.*\.\.\.: .*valid integer"),
    "length": ("# " + "x" * 70_000, "more than 65,536 characters"),
    "no text": (b"\xff\xfe\x00name", "not UTF-8 text"),
    "control characters": (b"name: \x00\x07", "is not YAML"),
    "key": ("? [a]\n: 1", "is not YAML"),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.timeout(30)
def test_what_is_small_but_means_much_is_refused_before_it_is_unfolded(name: str, tmp_path: Path) -> None:
    content, message = BOMBS[name]
    path = tmp_path / "bomb.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=message):
        load_experiment(path)
    if isinstance(content, str) and "\n" not in content and name != "sexagesimal":  # that is text, a YAML value
        with pytest.raises(ConfigError, match=r"seeds=.* is not a YAML value"):
            load_experiment(write(tmp_path, MINIMAL), [f"seeds={content}"])


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device here")
@pytest.mark.timeout(30)
def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than 65,536 characters"):
        load_experiment("/dev/zero")


def valid_or_refused(path: Path, overrides: tuple[str, ...] = ()) -> None:
    """Load an experiment file, which must give an experiment, or ConfigError with at least one problem."""
    try:
        experiment = load_experiment(path, overrides)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - most are refused, some are valid
    else:
        assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments")


DEMO = (Path(__file__).parents[2] / "jobs" / "demo.yaml").read_bytes()
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["name", "seed", "seeds", "storage", "tracking", "data", "tiles", "models", "train", "attacks", "defenses"]
FIELDS += [
    "evaluation",
    "report",
    "resources",
    "data.source",
    "data.path",
    "tiles.split",
    "models.resnet18",
    "models.resnet18.std",
]
FIELDS += [
    "attacks.deepfool",
    "attacks.pgd.eps",
    "evaluation.curves",
    "evaluation.attacks",
    "evaluation.checks",
    "nothing",
]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_an_experiment_or_refused(scratch: Path, data: bytes) -> None:
    (scratch / "any.yaml").write_bytes(data)
    valid_or_refused(scratch / "any.yaml")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(DEMO) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_experiment_is_an_experiment_or_refused(scratch: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(DEMO)
    for place, byte in changes:
        data[place] = byte
    (scratch / "damaged.yaml").write_bytes(data)
    valid_or_refused(scratch / "damaged.yaml")


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), anything, min_size=1, max_size=3))
def test_any_value_of_a_setting_is_taken_or_refused(scratch: Path, values: dict[str, object]) -> None:
    raw: dict[str, Any] = {"models": {"resnet18": {}}, "attacks": {"deepfool": {}, "pgd": {}}}
    raw = {**MINIMAL, **raw, "data": {"source": "synthetic"}, "tiles": {}, "evaluation": {}}
    for field, value in values.items():
        *sections, last = field.split(".")
        node = raw
        for section in sections:
            node = node[section] if isinstance(node.get(section), dict) else node.setdefault(section + "_", {})
        node[last] = value
    try:
        validate_experiment(raw)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - most are refused, some are valid


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=30) | st.tuples(st.sampled_from(FIELDS), st.text(max_size=20)).map("=".join))
def test_any_override_is_taken_or_refused(scratch: Path, override: str) -> None:
    valid_or_refused(write(scratch, MINIMAL), (override,))
