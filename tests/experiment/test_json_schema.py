"""The JSON schema of experiment files: it accepts what `raypipe validate` accepts, and rejects what it rejects."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from raypipe.attacks import ATTACKS
from raypipe.base.errors import ConfigError
from raypipe.corruptions import CORRUPTIONS
from raypipe.defenses import DEFENSES, PRESETS
from raypipe.experiment.json_schema import SCHEMA_PATH
from raypipe.experiment.load import validate_experiment
from raypipe.models.backbones import BACKBONES

SCHEMA = json.loads(SCHEMA_PATH.read_text())
MINIMAL: dict[str, Any] = {
    "name": "t",
    "data": {"source": "synthetic"},
    "models": ["resnet18"],
    "attacks": ["deepfool"],
}
ROOT = Path(__file__).parents[2]
JOBS = [path for path in sorted(ROOT.glob("jobs/*.yaml")) if path.name not in ("rayjob.yaml", "runtime_env.yaml")]


def accepts(raw: object) -> bool:
    return bool(Draft202012Validator(SCHEMA).is_valid(raw))


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_the_experiments_of_the_repository_fit_and_name_the_schema(path: Path) -> None:
    first, *_ = path.read_text().splitlines()
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == SCHEMA_PATH
    assert accepts(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "changes",
    [
        {"attacks": {"pgd": {"eps": "8/255", "norm": "linf"}, "deepfool": None}},
        {"attacks": {"weak": {"name": "pgd", "max_iterations": 2}, "pgd": {"name": "fgsm"}}},
        {"attacks": {"hop": {"backend": "art", "name": "HopSkipJump", "parameters": {"max_iter": 2}}}},
        {"attacks": {"deepfool": {"backend": "art"}}},
        {"models": {"resnet18": None, "mine": {"name": "convnet", "resize": "own"}}},
        {"models": ["torchvision:alexnet"], "tiles": {"split": ["group", "paper"], "size": 64}},
        {"defenses": {"robust": {"epochs": 8}, "trades": None}, "train": {"augment": "none"}},
        {
            "defenses": {
                "pgd_training": {"search": {"space": {"eps": ["2/255", 0.1], "step_size": {"low": 0.1, "high": 1}}}}
            }
        },
        {"evaluation": {"corruptions": "pathology", "checks": None, "curves": {"l2": [0.5], "linf": ["1/255"]}}},
        {"evaluation": {"corruptions": ["blur"] if "blur" in CORRUPTIONS else [next(iter(CORRUPTIONS))]}},
        {"evaluation": {"bounded": {"name": "pgd"}, "autoattack": None, "attacks": ["square"]}},
        {
            "evaluation": {
                "external": {"b": {"data": {"source": "synthetic"}, "labels": {"x": "y"}}},
                "universal": {"eps": "8/255"},
            }
        },
        {"attacks": "pgd", "models": "resnet18", "evaluation": {"attacks": "square"}},
        {"attacks": list(ATTACKS), "models": list(BACKBONES)},
        {"defenses": [*DEFENSES, *PRESETS]},
    ],
)
def test_short_forms_are_accepted(changes: dict[str, Any]) -> None:
    raw = {**MINIMAL, **changes}
    assert accepts(raw), [error.message for error in Draft202012Validator(SCHEMA).iter_errors(raw)]
    if "defenses" not in changes and "models" not in changes:  # some fit together with few others only
        validate_experiment(raw)


BROKEN: dict[str, dict[str, Any]] = {
    "an unknown setting of an external set": {
        "evaluation": {"external": {"b": {"data": {"source": "synthetic", "path": "x"}, "labels": {"x": "y"}}}}
    },
    "an unknown section": {"tils": {}},
    "an unknown setting": {"tiles": {"sise": 3}},
    "an unknown setting of an attack": {"attacks": {"pgd": {"epsilon": 0.1}}},
    "an unknown setting of an attack with an id": {"attacks": {"mine": {"name": "pgd", "epsilon": 0.1}}},
    "an unknown attack": {"attacks": ["pgdd"]},
    "an unknown attack by id": {"attacks": {"pgdd": None}},
    "an unknown model": {"models": ["resnet19"]},
    "a setting of another data set": {"data": {"source": "synthetic", "per_class": 4}},
    "no data set": {"data": {"path": "tiles"}},
    "an unknown data set": {"data": {"source": "folders", "path": "tiles"}},
    "a radius without a number": {"attacks": {"pgd": {"eps": "large"}}},
    "a number out of range": {"tiles": {"size": 8}},
    "a wrong type": {"seed": "one"},
    "a wrong word": {"tiles": {"split": "grup"}},
    "an unknown corruption": {"evaluation": {"corruptions": ["rain"]}},
    "an attack that is no bounded one": {"evaluation": {"bounded": {"name": "deepfool"}}},
    "an id that is no name of a folder": {"attacks": {"a/b": {"name": "pgd"}}},
}


@pytest.mark.parametrize("changes", BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_rejected_by_both(changes: dict[str, Any]) -> None:
    raw = {**MINIMAL, **changes}
    assert not accepts(raw)
    with pytest.raises(ConfigError):
        validate_experiment(raw)


@pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="needs check-jsonschema, see the extra dev")
def test_check_jsonschema_agrees(tmp_path: Path) -> None:
    def rejected(files: list[Path]) -> set[str]:
        command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(SCHEMA_PATH), "-o", "json"]
        done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
        return {Path(error["filename"]).name for error in json.loads(done.stdout)["errors"]}

    assert rejected(JOBS) == set()
    broken = [tmp_path / f"{number}.yaml" for number in range(len(BROKEN))]
    for path, changes in zip(broken, BROKEN.values(), strict=True):
        path.write_text(yaml.safe_dump({**MINIMAL, **changes}))
    assert rejected(broken) == {path.name for path in broken}
