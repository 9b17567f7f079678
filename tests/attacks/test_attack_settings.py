import pytest
from pydantic import ValidationError

from raypipe.attacks import ART, ATTACKS, AttackSettings, get_attack
from raypipe.attacks.art.backend import ArtAttack
from raypipe.attacks.art.classes import CLASSES
from raypipe.attacks.carlini_wagner import CarliniWagnerL2
from raypipe.attacks.deepfool import DeepFool
from raypipe.attacks.saliency_map import SaliencyMap
from raypipe.base.settings import Settings


class Holder(Settings):
    attacks: list[AttackSettings]


def errors(*attacks):
    with pytest.raises(ValidationError) as caught:
        Holder(attacks=attacks)
    return {error["loc"]: error["msg"] for error in caught.value.errors()}


def test_names_give_records():
    held = Holder(
        attacks=[
            {"name": "deepfool", "overshoot": 0.1},
            {"name": "carlini_wagner_l2", "backend": "raypipe"},
            {"name": "saliency_map"},
            {"name": "deepfool", "backend": "art", "parameters": {"max_iter": 7}},
            {"name": "ProjectedGradientDescent", "backend": "art"},
            DeepFool(lazy=False),
        ]
    )
    assert [type(settings) for settings in held.attacks] == [
        DeepFool,
        CarliniWagnerL2,
        SaliencyMap,
        ArtAttack,
        ArtAttack,
        DeepFool,
    ]
    assert held.attacks[0].overshoot == 0.1
    assert held.attacks[3].parameters == {"max_iter": 7}
    assert Holder.model_validate(held.model_dump()) == held
    assert Holder.model_validate_json(held.model_dump_json()) == held


def test_names_are_the_registry_s():
    for name, attack in ATTACKS.items():
        settings = attack.settings()
        assert (settings.name, settings.backend) == (name, "raypipe")
        assert get_attack(settings) is attack
    assert get_attack(ArtAttack(backend="art", name="deepfool")) is ART
    assert set(CLASSES) <= set(ATTACKS)


def test_errors_say_where_they_are():
    found = errors(
        {"name": "deepfool", "overshoot": -1, "steps": 3},
        {"name": "deepfol"},
        {"backend": "arts", "name": "deepfool"},
        {"overshoot": 0.02},
        {"name": "saliency_map", "theta": 0},
    )
    assert set(found) == {
        ("attacks", 0, "overshoot"),
        ("attacks", 0, "steps"),
        ("attacks", 1, "name"),
        ("attacks", 2, "backend"),
        ("attacks", 3, "name"),
        ("attacks", 4, "theta"),
    }
    assert found["attacks", 3, "name"] == "Field required"
    assert found["attacks", 1, "name"] == (
        f"expected one of {', '.join(ATTACKS)}; did you mean 'deepfool'?"
        "; for the toolbox's own attacks say `backend: art`"
    )
    assert found["attacks", 2, "backend"] == "expected one of raypipe, art; did you mean 'art'?"


def test_an_attack_that_only_art_has_says_how_to_get_it():
    found = errors({"name": "ProjectedGradientDescent"})
    assert "`backend: art`" in found["attacks", 0, "name"]


def test_errors_of_the_art_backend():
    found = errors(
        {"backend": "art", "name": "DeepFol"},
        {"backend": "art", "name": "deepfool", "parameters": {"max_iterations": 3, "batch_size": 4}},
        {"backend": "art", "name": "importlib"},
        {"backend": "art", "name": "saliency_map", "theta": 0.1},
    )
    assert "no attack 'DeepFol', expected" in found["attacks", 0, "name"]
    assert (
        "takes no batch_size, max_iterations: expected some of epsilon, max_iter, nb_grads"
        in (found["attacks", 1, "parameters"])
    )
    assert "no attack 'importlib'" in found["attacks", 2, "name"]
    assert set(found) >= {("attacks", 2, "name"), ("attacks", 3, "theta")}


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        DeepFool().lazy = False
