from pathlib import Path

import pytest
import yaml

from raypipe.attacks import ArtAttack, DeepFool
from raypipe.config import ConfigError, Experiment, load_experiment, validate_experiment

MINIMAL = {"name": "t", "data": {"source": "synthetic"}, "models": ["resnet18"], "attacks": ["deepfool"]}


def problems(**changes: object) -> str:
    with pytest.raises(ConfigError) as caught:
        validate_experiment({**MINIMAL, **changes})
    return "\n".join(caught.value.problems)


def write(folder: Path, content: object) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_the_paper_s_preprocessing_is_the_default() -> None:
    experiment = validate_experiment(MINIMAL)
    assert experiment.tiles.size == 255
    assert experiment.tiles.train_fraction == 0.7
    assert experiment.train.brightness == 0.05
    assert experiment.train.epochs == 10
    assert experiment.models["resnet18"].mean == experiment.models["resnet18"].std == (0.5, 0.5, 0.5)


def test_every_error_is_listed_at_once_with_its_path() -> None:
    text = problems(
        seed=-1,
        tiles={"size": 5, "splt": "group"},
        models={"resnet81": {}, "googlenet": {"weights": "imagenett", "std": [0, 1, 1]}},
        train={"epochs": 0},
        attacks={"deepfol": {}, "mine": {"name": "deepfool", "backend": "art", "parameters": {"speed": 1}}},
        defenses={"adversarial_trainin": {}},
    )
    for expected in (
        "seed = -1",
        "tiles.size = 5",
        "tiles.splt: no such setting; did you mean 'split'",
        "models.resnet81.name = 'resnet81': unknown backbone",
        "did you mean 'resnet18'?",
        "models.googlenet.weights = 'imagenett'",
        "did you mean 'imagenet'",
        "models.googlenet.std",
        "train.epochs = 0",
        "attacks.deepfol.name",
        "did you mean 'deepfool'?",
        "attacks.mine.parameters: deepfool takes no speed",
        "defenses.adversarial_trainin.name",
        "did you mean 'adversarial_training'?",
    ):
        assert expected in text


def test_a_missing_section_is_named() -> None:
    with pytest.raises(ConfigError, match=r"models: required, but not given"):
        validate_experiment({key: value for key, value in MINIMAL.items() if key != "models"})


def test_an_unknown_data_set_is_answered_with_a_near_one() -> None:
    assert "did you mean 'lc25000'?" in problems(data={"source": "lc2500", "path": "x"})


@pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden"])
def test_a_run_s_name_cannot_leave_its_folder(name: str) -> None:
    assert "name = " in problems(name=name)


def test_one_attack_can_stand_in_the_grid_twice() -> None:
    attacks = {"exact": {"name": "deepfool", "lazy": False}, "theirs": {"name": "deepfool", "backend": "art"}}
    experiment = validate_experiment({**MINIMAL, "attacks": attacks})
    assert experiment.attacks["exact"] == DeepFool(lazy=False)
    assert isinstance(experiment.attacks["theirs"], ArtAttack)


def test_what_is_written_can_be_read_back() -> None:
    experiment = validate_experiment({**MINIMAL, "defenses": ["adversarial_training"]})
    assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment


def test_overrides_reach_into_lists_and_empty_entries(tmp_path: Path) -> None:
    path = write(tmp_path, {**MINIMAL, "defenses": {"adversarial_training": None}})
    experiment = load_experiment(
        path,
        ["train.epochs=3", "attacks.deepfool.overshoot=0.1", "defenses.adversarial_training.mix=0.3", "name=other"],
    )
    assert experiment.train.epochs == 3
    assert experiment.attacks["deepfool"] == DeepFool(overshoot=0.1)
    assert experiment.defenses["adversarial_training"].mix == 0.3
    assert experiment.name == "other"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", "expected field.path=value"),
        ("name.first=x", "name is a value, not a section"),
        ("train.epochs=[1", "is not a YAML value"),
        ("train.epoch=1", "did you mean 'epochs'"),
    ],
)
def test_a_wrong_override_is_explained(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match="1 error") as caught:
        load_experiment(write(tmp_path, MINIMAL), [override])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"), [("a: [", "is not YAML"), ("- a", "expected a mapping"), ("", "expected a mapping")]
)
def test_a_file_that_is_no_experiment(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_experiment(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_experiment(tmp_path / "nowhere.yaml")


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not YAML"):
        load_experiment(write(tmp_path, "name: !!python/object/apply:os.getcwd []"))


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[1].glob("jobs/*.yaml")), ids=lambda path: path.name)
def test_the_experiments_that_come_with_the_project_are_valid(path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    if path.stem != "leakage":  # the others are the paper's grid
        assert len(experiment.models) == len(experiment.attacks) == 3
    assert experiment.evaluation.checks is not None, "no experiment of ours goes unchecked"


def test_radii_may_be_written_as_fractions() -> None:
    experiment = validate_experiment({
        **MINIMAL, "attacks": {"pgd": {"eps": "8/255"}}, "evaluation": {"curves": {"linf": ["4/255", "0.5/255", 0.1]}},
    })  # fmt: skip
    assert experiment.attacks["pgd"].model_dump()["eps"] == 8 / 255
    assert experiment.evaluation.curves["linf"] == (0.5 / 255, 4 / 255, 0.1)
    with pytest.raises(ConfigError, match=r"evaluation.curves.linf\[0\] = '4/0'"):
        validate_experiment({**MINIMAL, "evaluation": {"curves": {"linf": ["4/0"]}}})


def test_an_attack_of_the_evaluation_has_an_id_of_its_own() -> None:
    with pytest.raises(ConfigError, match=r"evaluation.attacks: deepfool: an attack of the grid has this id already"):
        validate_experiment({**MINIMAL, "attacks": ["deepfool"], "evaluation": {"attacks": ["deepfool"]}})


def test_both_splits_can_be_asked_for_but_not_of_one_file(tmp_path: Path) -> None:
    both = validate_experiment({**MINIMAL, "tiles": {"split": ["group", "paper", "group"]}})
    assert both.tiles.split == ("group", "paper")
    with pytest.raises(ConfigError, match="a CSV of `splits` is one split"):
        validate_experiment({**MINIMAL, "tiles": {"split": ["group", "paper"], "splits": "s.csv"}})


def test_every_error_of_the_evaluation_is_listed() -> None:
    evaluation = {
        "attacks": {"check/reference": {"name": "pgd"}},
        "bounded": {"name": "pgd", "target": "random"},
        "curves": {"linf": [8]},
    }
    text = problems(tiles={"split": ["group", "papr"]}, evaluation=evaluation)
    assert "ids 'check/reference': expected letters" in text
    assert "evaluation.bounded" in text
    assert "expected no target" in text
    assert "eps = 8: expected 0..1, pixels are scaled; did you mean 8/255?" in text
    assert "tiles.split[1] = 'papr': input should be 'group' or 'paper'" in text
    assert text.count("papr") == 1
    assert "did you mean 4/255" in problems(evaluation={"checks": {"eps": 4}})
