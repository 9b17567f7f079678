from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from raypipe.attacks import ATTACKS, AttackSettings
from raypipe.attacks.art.classes import PACKAGES
from raypipe.attacks.base import NativeAttack
from raypipe.attacks.engine.threat import get_threat_model
from raypipe.attacks.fgsm import FastGradient
from raypipe.base.threat import ThreatModel
from tests.attacks.art.test_art_classes import RUNS, missing, settings_of

OWN = {
    "deepfool": "minimal l2, white-box",
    "carlini_wagner_l2": "minimal l2, white-box",
    "minimal_l2": "minimal l2, white-box",
    "saliency_map": "minimal l0, white-box",
    "sparse_l0": "minimal l0, white-box",
    "sigma_zero": "minimal l0, white-box",
    "fgsm": "linf <= 8/255, white-box",
    "pgd": "linf <= 8/255, white-box",
    "apgd": "linf <= 8/255, white-box",
    "autoattack": "linf <= 8/255, white-box",
    "square": "linf <= 8/255, score-based",
    "fab": "minimal linf, white-box",
    "ddn": "minimal l2, white-box",
    "rays": "minimal linf, decision-based",
    "cgba": "minimal l2, decision-based",
    "adversarial_patch": "patch on 5 % of the area, anywhere, white-box",
    "stain": "stain (hed): hematoxylin and eosin times 0.68 to 1.41 and 0.61 to 1.81, plus -0.2 to 0.2 and "
    "-0.11 to 0.09; no pixel norm, white-box",
}
THEIRS = {
    "AutoAttack": "linf <= 0.1, stored 25/255, white-box",
    "AutoConjugateGradient": "linf <= 0.3, stored 76/255, white-box",
    "AutoProjectedGradientDescent": "linf <= 0.3, stored 76/255, white-box",
    "BasicIterativeMethod": "linf <= 0.3, stored 76/255, white-box",
    "BoundaryAttack": "minimal l2, decision-based",
    "BrendelBethgeAttack": "minimal linf, white-box",
    "CarliniL0Method": "minimal l0, white-box",
    "CarliniL2Method": "minimal l2, white-box",
    "CarliniLInfMethod": "minimal linf, white-box",
    "CompositeAdversarialAttackPyTorch": "unbounded, white-box",
    "DeepFool": "minimal l2, white-box",
    "ElasticNet": "minimal l1, white-box",
    "FastGradientMethod": "linf <= 0.1, stored 25/255, white-box",
    "GRAPHITEWhiteboxPyTorch": "unbounded, white-box",
    "HopSkipJump": "minimal l2, decision-based",
    "MomentumIterativeMethod": "linf <= 0.3, stored 76/255, white-box",
    "NewtonFool": "minimal l2, white-box",
    "PixelAttack": "minimal l0, score-based",
    "ProjectedGradientDescent": "linf <= 0.3, stored 76/255, white-box",
    "ProjectedGradientDescentNumpy": "linf <= 0.3, stored 76/255, white-box",
    "ProjectedGradientDescentPyTorch": "linf <= 0.3, stored 76/255, white-box",
    "RescalingAutoConjugateGradient": "linf <= 0.3, stored 76/255, white-box",
    "SaliencyMapMethod": "minimal l0, white-box",
    "ShadowAttack": "unbounded, white-box",
    "SignOPTAttack": "minimal l2, decision-based",
    "SimBA": "minimal l2, score-based",
    "SpatialTransformation": "unbounded, decision-based",
    "SquareAttack": "linf <= 0.3, stored 76/255, score-based",
    "TargetedUniversalPerturbation": "linf <= 10, white-box",
    "ThresholdAttack": "linf <= 10/255, score-based",
    "UniversalPerturbation": "linf <= 10, white-box",
    "VirtualAdversarialMethod": "l2 <= 0.1, score-based",
    "Wasserstein": "unbounded, white-box",
    "ZooAttack": "minimal l2, score-based",
}


def test_every_attack_has_a_threat_model():
    threats = {name: str(get_threat_model(attack.settings())) for name, attack in ATTACKS.items()}
    assert threats == {name: f"{threat}, untargeted, 8-bit" for name, threat in OWN.items()}


@pytest.mark.parametrize("name", RUNS)
def test_every_attack_of_the_toolbox_has_one(name):
    if missing(PACKAGES.get(name)):
        pytest.skip(f"{name} needs {PACKAGES[name]}")
    assert str(get_threat_model(settings_of(name, **RUNS[name]))) == f"{THEIRS[name]}, untargeted, 8-bit"


@pytest.mark.parametrize(
    ("settings", "threat"),
    [
        ({"name": "pgd", "norm": "l2"}, ThreatModel("l2", 0.5)),
        ({"name": "pgd", "target": "random"}, ThreatModel("linf", 8 / 255, goal="targeted")),
        ({"name": "fab", "norm": "l2"}, ThreatModel("l2", None)),
        ({"name": "fab", "eps": "4/255"}, ThreatModel("linf", 4 / 255)),
        (
            {"backend": "art", "name": "pgd", "parameters": {"norm": 2, "eps": 3.0}},
            ThreatModel("l2", 3.0),
        ),
        (
            {"backend": "art", "name": "fgsm", "parameters": {"minimal": True}},
            ThreatModel("linf", None),
        ),
        (
            {"backend": "art", "name": "HopSkipJump", "parameters": {"norm": "inf"}},
            ThreatModel("linf", None, "decision-based"),
        ),
        (
            {"backend": "art", "name": "UniversalPerturbation", "parameters": {"attacker": "simba"}},
            ThreatModel("linf", 10.0, "score-based"),
        ),
    ],
)
def test_settings_change_it(settings, threat):
    assert get_threat_model(TypeAdapter(AttackSettings).validate_python(settings)) == threat


def test_a_ball_that_stored_tiles_cannot_be_kept_in_is_refused():
    with pytest.raises(ValueError, match=r"SquareAttack: norm = 1, expected inf or 2"):
        settings_of("SquareAttack", norm=1)


def test_an_attack_that_says_nothing_has_none():
    with pytest.raises(NotImplementedError, match="NativeAttack has no ball: expected the norm that it minimizes"):
        get_threat_model(NativeAttack(name="new"))


@pytest.mark.parametrize(
    ("norm", "eps", "bound"),
    [
        ("linf", 8 / 255, "linf <= 8/255"),
        ("linf", 0.5 / 255, "linf <= 0.5/255, stored 0/255"),
        ("linf", 2.5 / 255, "linf <= 2.5/255, stored 2/255"),
        ("linf", 0.3, "linf <= 0.3, stored 76/255"),
        ("linf", 0.03137, "linf <= 0.03137"),  # 8/255 with the usual number of digits
        ("l2", 0.5, "l2 <= 0.5"),
        ("l0", None, "minimal l0"),
        ("none", None, "unbounded"),
    ],
)
def test_how_a_bound_is_written(norm, eps, bound):
    assert str(ThreatModel(norm, eps, "transfer")) == f"{bound}, transfer, untargeted, 8-bit"


@pytest.mark.parametrize(("steps", "stored"), [(2, 2), (2.5, 2), (2.9, 2), (3, 3)])
def test_stored_tiles_reach_the_stored_radius_and_no_further(cases, steps, stored):
    settings = FastGradient(eps=steps / 255)
    threat = get_threat_model(settings)
    assert (threat.eps, threat.stored_eps) == (steps / 255, stored / 255)
    assert cases[3].attacked(settings).linf.max() == threat.stored_eps


def test_a_decision_based_attack_fools_without_gradients(cases):
    """Run the toolbox's HopSkipJump (Chen et al., 2020, arXiv:1904.02144) down to stored tiles."""
    settings = settings_of("HopSkipJump", max_iter=2, max_eval=60, init_eval=20, init_size=50)
    case = replace(cases[3], images=cases[3].images[:6], labels=cases[3].labels[:6])
    result = case.attacked(settings)
    assert get_threat_model(settings).knowledge == "decision-based"
    assert result.success.mean() >= 0.8
    assert not result.backwards.any()
