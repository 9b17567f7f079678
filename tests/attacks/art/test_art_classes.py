"""Every evasion attack of the installed toolbox: it runs on tiles, or the settings refuse it."""

import importlib.util
import inspect
from dataclasses import replace

import pytest
import torch
from art.attacks import evasion
from art.attacks.attack import EvasionAttack
from pydantic import ValidationError

from raypipe.attacks.art.backend import ArtAttack, art_attack
from raypipe.attacks.art.classes import PACKAGES
from raypipe.attacks.engine.victim import Victim, freeze

RUNS = {
    "AutoAttack": {"eps": 0.1, "eps_step": 0.05},
    "AutoConjugateGradient": {"max_iter": 3, "nb_random_init": 1},
    "AutoProjectedGradientDescent": {"max_iter": 3, "nb_random_init": 1, "loss_type": "difference_logits_ratio"},
    "BasicIterativeMethod": {"max_iter": 3},
    "BoundaryAttack": {"max_iter": 2, "num_trial": 3, "sample_size": 4, "targeted": False},
    "BrendelBethgeAttack": {"steps": 2, "binary_search_steps": 2, "init_size": 10},
    "CarliniL0Method": {"max_iter": 2, "binary_search_steps": 2},
    "CarliniL2Method": {"max_iter": 2, "binary_search_steps": 2, "initial_const": 1.0},
    "CarliniLInfMethod": {"max_iter": 2, "largest_const": 1e-4},
    "CompositeAdversarialAttackPyTorch": {"max_iter": 1, "max_inner_iter": 1},
    "DeepFool": {"max_iter": 3},
    "ElasticNet": {"max_iter": 2, "binary_search_steps": 2, "targeted": True},
    "FastGradientMethod": {"eps": 0.1},
    "GRAPHITEWhiteboxPyTorch": {"net_size": [16, 16], "num_xforms": 2, "steps": 2, "first_steps": 2},
    "HopSkipJump": {"max_iter": 1, "max_eval": 10, "init_eval": 2, "init_size": 10},
    "MomentumIterativeMethod": {"max_iter": 3},
    "NewtonFool": {"max_iter": 2},
    "PixelAttack": {"th": 1, "max_iter": 1},
    "ProjectedGradientDescent": {"max_iter": 3, "targeted": True},
    "ProjectedGradientDescentNumpy": {"max_iter": 3},
    "ProjectedGradientDescentPyTorch": {"max_iter": 3},
    "RescalingAutoConjugateGradient": {"max_iter": 3, "nb_random_init": 1},
    "SaliencyMapMethod": {"theta": 1.0, "gamma": 0.05},
    "ShadowAttack": {"nb_steps": 1},
    "SignOPTAttack": {"targeted": False, "num_trial": 3, "max_iter": 2, "query_limit": 100, "k": 5},
    "SimBA": {"max_iter": 10},
    "SpatialTransformation": {"max_rotation": 20, "num_rotations": 3},
    "SquareAttack": {"max_iter": 3},
    "TargetedUniversalPerturbation": {"max_iter": 1},
    "ThresholdAttack": {"th": 10, "max_iter": 1, "es": 1},
    "UniversalPerturbation": {"max_iter": 1, "attacker": "fgsm"},
    "VirtualAdversarialMethod": {"max_iter": 1},
    "Wasserstein": {"max_iter": 2, "conjugate_sinkhorn_max_iter": 5, "projected_sinkhorn_max_iter": 5},
    "ZooAttack": {"max_iter": 2, "nb_parallel": 4},
}
REFUSED = {
    "AdversarialPatch": "one patch for all images",
    "AdversarialPatchNumpy": "one patch for all images",
    "AdversarialPatchPyTorch": "one patch for all images",
    "AdversarialPatchTensorFlowV2": "one patch for all images",
    "AdversarialTexturePyTorch": "ObjectTracker",
    "CarliniWagnerASR": "SpeechRecognizer",
    "DPatch": "ObjectDetector",
    "DecisionTreeAttack": "DecisionTree",
    "FeatureAdversariesNumpy": "a second image",
    "FeatureAdversariesPyTorch": "a second image",
    "FeatureAdversariesTensorFlowV2": "TensorFlow",
    "FrameSaliencyAttack": "videos",
    "GRAPHITEBlackbox": "an image of each target class",
    "GeoDA": "NumPy 2",
    "HighConfidenceLowUncertainty": "GaussianProcess",
    "ImperceptibleASR": "SpeechRecognizer",
    "ImperceptibleASRPyTorch": "SpeechRecognizer",
    "LaserAttack": "laser beams",
    "LowProFool": "rows of a table",
    "MalwareGDTensorFlow": "programs",
    "OverTheAirFlickeringPyTorch": "videos",
    "OverloadPyTorch": "object detectors",
    "ProjectedGradientDescentTensorFlowV2": "TensorFlow",
    "RobustDPatch": "ObjectDetector",
    "SNAL": "object detectors",
}


def settings_of(name, **parameters):
    return ArtAttack(backend="art", name=name, parameters=parameters, batch_size=4)


def missing(package):
    return package is not None and importlib.util.find_spec(package) is None


def test_every_class_of_the_toolbox_is_covered():
    found = {name for name, kind in vars(evasion).items() if inspect.isclass(kind) and issubclass(kind, EvasionAttack)}
    known = RUNS.keys() | REFUSED.keys()
    assert found - known == set()
    assert known - found <= {"BrendelBethgeAttack"}  # the toolbox hides it where numba is missing
    assert not RUNS.keys() & REFUSED.keys()


@pytest.mark.filterwarnings("ignore::RuntimeWarning:art.attacks.evasion.wasserstein")
@pytest.mark.parametrize("name", RUNS)
def test_attacks_on_images_run(cases, name):
    if missing(PACKAGES.get(name)):
        pytest.skip(f"{name} needs {PACKAGES[name]}")
    case = cases[3]
    case = replace(case, images=case.images[2:8], labels=case.labels[2:8])
    with freeze(case.model) as model:
        right = model(case.floats).argmax(1) == case.truth
        victim = Victim(model, len(case.images))
        settings = settings_of(name, **RUNS[name])
        found = art_attack(victim, case.floats, case.goal, settings)
    assert found.shape == case.floats.shape
    assert found.dtype == torch.float32
    assert bool(found.isfinite().all())
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert not bool(right.all())
    torch.testing.assert_close(found[~right], case.floats[~right], atol=0, rtol=0)
    assert bool((victim.forwards[right] > 1).all())
    assert bool(victim.backwards.any()) == (settings.knowledge == "white-box")


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_attack_tiles_is_refused(name):
    with pytest.raises(ValidationError, match=REFUSED[name]) as caught:
        settings_of(name)
    assert {error["loc"] for error in caught.value.errors()} == {("name",)}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_named(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(ValidationError, match=rf"{name} needs the Python package .*, which is not installed"):
        settings_of(name)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("GRAPHITEWhiteboxPyTorch", {}, "needs net_size"),
        ("SignOPTAttack", {}, "say `targeted: false`"),
        ("deepfool", {"max_iter": 0}, "number of iterations must be a positive integer"),
        ("ProjectedGradientDescent", {"eps": "8/255"}, "must have the same type"),
        ("ThresholdAttack", {"th": 10}, "needs the Python package cma.* say `es: 1`"),
    ],
)
def test_parameters_are_checked_before_the_attack(monkeypatch, name, parameters, message):
    monkeypatch.setitem(PACKAGES, name, None)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package == "cma" else find(package))
    with pytest.raises(ValidationError, match=message) as caught:
        settings_of(name, **parameters)
    assert {error["loc"] for error in caught.value.errors()} == {("parameters",)}
