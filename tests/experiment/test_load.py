from pathlib import Path
from typing import Any

import pytest

from raypipe.attacks.art.backend import ArtAttack
from raypipe.attacks.deepfool import DeepFool
from raypipe.base.errors import ConfigError
from raypipe.experiment.load import load_experiment, validate_experiment
from raypipe.experiment.schema import Experiment
from raypipe.models.backbones import BACKBONES
from raypipe.training.recipe import Recipe
from tests.experiment.minimal import MINIMAL, problems, write


def test_the_paper_s_preprocessing_is_the_default() -> None:
    experiment = validate_experiment(MINIMAL)
    assert experiment.tiles.size == 255
    assert experiment.tiles.train_fraction == 0.7
    assert experiment.models["resnet18"].mean == experiment.models["resnet18"].std == (0.5, 0.5, 0.5)


def test_the_paper_s_recipe_is_one_word_and_can_be_overridden() -> None:
    paper = validate_experiment({**MINIMAL, "train": {"recipe": "paper", "epochs": 3}}).train
    assert paper.model_dump() == {
        "recipe": "paper", "epochs": 3, "batch_size": 32, "optimizer": "adam", "learning_rate": 1e-3,
        "weight_decay": 0.0, "momentum": 0.9, "schedule": "cosine", "warm_up": 0.0, "clip_norm": None,
        "precision": "fp32", "label_smoothing": 0.0, "brightness": 0.05, "augment": (), "hed_strength": 0.05,
        "ema": 0.0, "validation": 0.0,
    }  # fmt: skip
    assert Recipe.model_validate(paper.model_dump(mode="json")) == paper, "as a resolved experiment is read again"
    assert Recipe(augment="none").augment == ()


def test_what_compares_on_held_out_tiles_needs_them() -> None:
    searched = {"adversarial_training": {"search": {"mix": [0.3, 0.5]}}}
    text = problems(train={"recipe": "paper"}, defenses={**searched, "pgd_training": {"early_stopping": True}})
    assert text == (
        "experiment: defenses.adversarial_training, defenses.pgd_training: early_stopping and search compare on "
        "held-out training tiles, but train.validation is 0; set train.validation: 0.1, or leave them out"
    )
    validate_experiment({**MINIMAL, "train": {"recipe": "paper", "validation": 0.1}, "defenses": searched})
    validate_experiment({**MINIMAL, "train": {"recipe": "paper"}, "defenses": ["pgd_training"]})


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
        "did you mean 'resnet18'",
        "models.googlenet.weights = 'imagenett'",
        "did you mean 'imagenet'",
        "models.googlenet.std",
        "train.epochs = 0",
        "attacks.deepfol.name",
        "did you mean 'deepfool'?",
        "attacks.mine.parameters: deepfool takes no speed",
        "defenses.adversarial_trainin.name",
        "did you mean 'adversarial_training'",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"source": "synthetic", "per_class": 4}}, "did you mean 'sources_per_class' or 'classes'?"),
        ({"attacks": {"mine": {"name": "pgd", "overshoot": 1}}}, "overshoot: no such setting; expected some of target"),
        (
            {"evaluation": {"checks": {"rounds": 1}}},
            "checks.rounds: no such setting; expected some of eps, max_queries",
        ),
        (
            {"evaluation": {"bounded": {"name": "pgd", "steps": 1}}},
            "steps: no such setting; did you mean 'eps' or 'step_size'",
        ),
        ({"defenses": {"pgd_training": {"search": {"space": {"eps": [1]}, "sample": 2}}}}, "did you mean 'samples'?"),
        (
            {"evaluation": {"external": {"b": {"data": {"source": "folder", "pth": "x"}, "labels": {}}}}},
            "evaluation.external.b.data.pth: no such setting; did you mean 'path'?",
        ),
    ],
)
def test_a_suggestion_is_a_setting_that_the_place_takes(changes: dict[str, Any], message: str) -> None:
    assert message in problems(**changes)


def test_a_name_that_is_in_a_list_twice_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"attacks.*fgsm is in the list more than once; keep one"):
        validate_experiment({"name": "t", "data": {"source": "synthetic"}, "models": ["resnet18"],
                             "attacks": ["fgsm", "pgd", "fgsm"]})  # fmt: skip


def test_one_name_needs_no_list() -> None:
    one = validate_experiment({**MINIMAL, "models": "resnet18", "attacks": "pgd", "defenses": "trades"})
    listed = validate_experiment({**MINIMAL, "models": ["resnet18"], "attacks": ["pgd"], "defenses": ["trades"]})
    assert one == listed


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
    ("content", "message"),
    [("a: [", "is not YAML: line 1, column 5: "), ("- a", "expected a mapping"), ("", "is empty; expected settings")],
)
def test_a_file_that_is_no_experiment(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_experiment(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_experiment(tmp_path / "nowhere.yaml")


JOBS = sorted(Path(__file__).parents[2].glob("jobs/*.yaml"))
NO_EXPERIMENTS = {"rayjob.yaml", "runtime_env.yaml"}


@pytest.mark.parametrize("path", [path for path in JOBS if path.name not in NO_EXPERIMENTS], ids=lambda path: path.name)
def test_the_experiments_that_come_with_the_project_are_valid(path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    if path.stem == "backbones":
        assert experiment.models.keys() == BACKBONES.keys()
    elif path.stem not in (
        "certified_l2",
        "certified_linf",
        "leakage",
        "defenses",
        "ebhi_seg_cpu",
        "external_colon",
        "external_colon_back",
        "frontier",
        "robust",
        "table3",
        "table3_denoising",
        "threats",
        "universal_colon",
    ):  # the other jobs are the paper's grid
        assert len(experiment.models) == len(experiment.attacks) == 3
    assert experiment.evaluation.checks is not None, "no experiment of ours goes unchecked"


@pytest.mark.parametrize("value", ["many", -1, 1.5, True, None])
def test_a_wrong_number_of_training_workers_is_one_line(value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        validate_experiment({**MINIMAL, "resources": {"train_workers": value}})
    assert str(error.value).count("train_workers") == 1
    assert "expected auto or a whole number of at least 0" in str(error.value)


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
    assert "tiles.split[1] = 'papr': input should be 'group', 'paper' or 'official'" in text
    assert text.count("papr") == 1
    assert "did you mean 4/255" in problems(evaluation={"checks": {"eps": 4}})


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e999"])
def test_no_setting_is_infinite_or_no_number(value: str, tmp_path: Path) -> None:
    for field in (
        "train.learning_rate",
        "tiles.train_fraction",
        "resources.cpus_per_worker",
        "attacks.deepfool.overshoot",
    ):
        with pytest.raises(ConfigError, match=field):
            load_experiment(write(tmp_path, MINIMAL), [f"{field}={value}"])


def test_a_seed_is_one_that_every_generator_takes() -> None:
    assert "seed = 4294967296" in problems(seed=2**32)
    assert "seeds[1]" in problems(seeds=[0, 2**32])


def test_a_long_value_is_shown_in_part() -> None:
    assert len(problems(name="<" * 100_000)) < 1_000


def test_a_setting_of_the_right_beginning_is_suggested() -> None:
    assert "did you mean 'eps'?" in problems(attacks={"pgd": {"epsilon": 0.1}})


@pytest.mark.parametrize("attacks", [["deepfool", ""], {"deepfool": None, "": {"name": "pgd"}}])
def test_an_empty_name_is_refused_with_its_place(attacks: object) -> None:
    assert problems(attacks=attacks).startswith("attacks: the name of entry 2 is empty")
