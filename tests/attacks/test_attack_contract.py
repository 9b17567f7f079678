"""The laws that every attack obeys, including ART's attacks behind our interface."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from raypipe.attacks import ATTACKS, AttackSettings, get_attack
from raypipe.attacks.engine.victim import Victim, freeze
from tests.attacks.conftest import WIDE_STAINS

pytestmark = pytest.mark.xdist_group("attack_laws")  # in one process, so that the tests share their attacks
CLASSES = 5
OTHER_CLASSES = (2, 3, 10)
SETTINGS = {name: {"name": name} for name in ATTACKS} | {
    "deepfool, every class": {"name": "deepfool", "lazy": False},
    "carlini_wagner_l2, published": {
        "name": "carlini_wagner_l2",
        "method": "published",
        "binary_search_steps": 2,
        "max_iterations": 20,
        "learning_rate": 0.05,
    },
    "saliency_map, downwards": {"name": "saliency_map", "theta": -0.5, "aim": "random"},
    "saliency_map, toolbox's": {"name": "saliency_map", "growth": 1, "prune": 0},
    "saliency_map, published": {"name": "saliency_map", "rule": "pair", "growth": 1, "prune": 0},
    "saliency_map, growing pairs": {"name": "saliency_map", "rule": "pair"},
    "sparse_l0, no fallback": {"name": "sparse_l0", "fallback_iterations": 0},
    # The small model is robust at the usual 8/255.
    "fgsm": {"name": "fgsm", "eps": 0.15},
    "pgd": {"name": "pgd", "eps": 0.15},
    "apgd": {"name": "apgd", "eps": 0.15},
    "fgsm, l2": {"name": "fgsm", "norm": "l2", "eps": 3.0},
    "pgd, l2 with restarts": {
        "name": "pgd",
        "norm": "l2",
        "restarts": 2,
        "max_iterations": 8,
        "random_start": True,
        "loss": "margin",
    },
    "pgd, every step": {"name": "pgd", "max_iterations": 10, "early_stop": False, "restarts": 2},
    "apgd, l2 with restarts": {"name": "apgd", "norm": "l2", "restarts": 2, "max_iterations": 10},
    "apgd, targets": {"name": "apgd", "targets": 9, "max_iterations": 10},
    "square": {"name": "square", "eps": 64 / 255, "max_queries": 200},
    "square, l2 with restarts": {"name": "square", "norm": "l2", "eps": 4.0, "max_queries": 12, "restarts": 2},
    "fab": {"name": "fab", "max_iterations": 5},
    "fab, targets in l2": {"name": "fab", "norm": "l2", "targets": 2, "restarts": 2, "max_iterations": 3},
    "fab, bounded": {"name": "fab", "eps": 0.05, "max_iterations": 8},
    "autoattack": {"name": "autoattack", "eps": 0.15, "max_iterations": 10, "max_queries": 30, "targets": 2},
    "autoattack, to the last": {
        "name": "autoattack",
        "eps": 0.02,
        "max_iterations": 3,
        "max_queries": 8,
        "targets": 2,
    },
    "ddn, not rounded": {"name": "ddn", "levels": None, "max_iterations": 20},
    "rays": {"name": "rays", "max_queries": 120},
    "rays, bounded": {"name": "rays", "eps": 0.1, "max_queries": 120},
    "cgba": {"name": "cgba", "max_queries": 150},
    "cgba, bounded": {"name": "cgba", "eps": 2.0, "max_queries": 150},
    "adversarial_patch": {"name": "adversarial_patch", "area": 0.3, "max_iterations": 15},
    "adversarial_patch, random place": {
        "name": "adversarial_patch",
        "area": 0.3,
        "position": "random",
        "max_iterations": 5,
        "restarts": 1,
    },
    "stain": {"name": "stain", **WIDE_STAINS},  # the small model is robust within the measured ranges
    "stain, random": {"name": "stain", **WIDE_STAINS, "search": "random", "max_queries": 30},
    "stain, macenko": {"name": "stain", "basis": "macenko", "max_iterations": 4, "restarts": 2},
    "art deepfool": {"backend": "art", "name": "deepfool", "parameters": {"max_iter": 10}},
    "art carlini_wagner_l2": {
        "backend": "art",
        "name": "carlini_wagner_l2",
        "parameters": {"max_iter": 2, "binary_search_steps": 2, "initial_const": 1.0},
    },
    "art saliency_map": {"backend": "art", "name": "saliency_map", "parameters": {"theta": 1.0, "gamma": 0.05}},
    "art ProjectedGradientDescent": {
        "backend": "art",
        "name": "ProjectedGradientDescent",
        "parameters": {"max_iter": 3, "num_random_init": 1, "eps": 0.1, "eps_step": 0.04},
    },
}
BUDGET = {  # forward and backward passes per tile, without clean prediction, 8-bit search and checks
    "deepfool": (51, 51 + 9),
    "carlini_wagner_l2": (51 + 30, 51 + 9 + 29),
    "carlini_wagner_l2, published": (2 * 20, 2 * 19),
    "minimal_l2": (21 + 20, 21 + 9 + 19),
    "saliency_map": (150, 60),
    "sparse_l0": (51 + 100, 50 + 99),
    "sparse_l0, no fallback": (51, 50),
    "sigma_zero": (100, 99),
    "fgsm": (1, 1),
    "pgd": (41, 40),
    "pgd, l2 with restarts": (1 + 2 * 9, 2 * 8),
    "pgd, every step": (2 * 11, 2 * 10),
    "apgd": (1 + 101, 100),
    "apgd, l2 with restarts": (1 + 2 * 11, 2 * 10),
    "apgd, targets": (1 + 9 * 11, 9 * 10),
    "square": (1 + 200, 0),
    "square, l2 with restarts": (1 + 2 * 12, 0),
    "fab": (1 + 11, 5 * 9),
    "fab, targets in l2": (1 + 2 * 2 * 7, 2 * 2 * 3),
    "fab, bounded": (1 + 17, 8 * 9),
    # The first number is the prediction; then come each attack and the prediction after it.
    "autoattack, to the last": (1 + (1 + 4 + 1) + (1 + 2 * 4 + 1) + (1 + 2 * 7 + 1) + (1 + 8 + 1), 3 + 2 * 3 + 2 * 3),
    "ddn": (100, 99),
    "ddn, not rounded": (20, 19),
    "rays": (1 + 120, 0),
    "rays, bounded": (1 + 120, 0),
    "cgba": (1 + 150, 0),
    "cgba, bounded": (1 + 150, 0),
    "adversarial_patch": (2 + 2 * 16, 1 + 2 * 15),
    "adversarial_patch, random place": (1 + 6, 5),
    "stain": (1 + 5 * 21, 5 * 20),
    "stain, random": (1 + 30, 0),
    "stain, macenko": (1 + 2 * 5, 2 * 4),
}

AIMED = (*ATTACKS, "deepfool, every class", "apgd, targets", "fab, targets in l2", "autoattack, to the last")
"""Every attack, and the variants that choose among the wrong classes, which may be fewer than requested."""
VICTIMS = [(name, CLASSES) for name in SETTINGS] + [(name, classes) for name in AIMED for classes in OTHER_CLASSES]


def settings_of(name):
    return TypeAdapter(AttackSettings).validate_python(SETTINGS[name])


def attacked(case, name, batch_size=8):
    return case.attacked(settings_of(name), batch_size=batch_size)


def run_floats(case, name):
    """Run the attack itself, without the 8-bit search at its end."""
    settings = settings_of(name)
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        floats = get_attack(settings).generate(victim, case.floats, case.goal, settings)
    return floats, victim


def predictions(case, images, batch_size):
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with freeze(case.model) as model, torch.no_grad():
        return torch.cat([model(batch).argmax(1) for batch in inputs.split(batch_size)]).numpy()


@pytest.fixture(scope="module")
def floats_of(cases):
    """Return each attack on each victim, computed once for all laws about its floats and its passes."""
    return cache(lambda name, classes: run_floats(cases[classes], name))


@pytest.fixture(scope="module")
def result_of(cases):
    """Return the result of `generate` for each attack on each victim, computed once for all laws about it."""
    return cache(lambda name, classes: attacked(cases[classes], name))


# The floats, passes and strength of an attack can depend on the number of classes. The bytes, counts and modes that
# `generate` adds cannot.
@pytest.mark.parametrize(("name", "classes"), VICTIMS)
class TestEveryAttack:
    def test_floats_are_images(self, cases, floats_of, name, classes):
        case = cases[classes]
        floats, _ = floats_of(name, classes)
        assert floats.shape == case.floats.shape
        assert floats.dtype == torch.float32
        assert bool(floats.isfinite().all())
        assert float(floats.min()) >= 0
        assert float(floats.max()) <= 1

    def test_misclassified_tiles_keep_their_floats(self, cases, floats_of, name, classes):
        case = cases[classes]
        wrong = predictions(case, case.images, 16) != case.labels
        assert 2 <= wrong.sum() < 8
        floats, _ = floats_of(name, classes)
        np.testing.assert_array_equal(floats[wrong].numpy(), case.floats[wrong].numpy())


@pytest.mark.parametrize("name", SETTINGS)
class TestEveryResult:
    def test_success_is_what_the_stored_bytes_say(self, cases, result_of, name):
        case, result = cases[CLASSES], result_of(name, CLASSES)
        for batch_size in (1, 16):
            again = predictions(case, result.images, batch_size)
            np.testing.assert_array_equal(again, result.adversarial_prediction)
        right = predictions(case, case.images, 16) == case.labels
        np.testing.assert_array_equal(result.success, right & (result.adversarial_prediction != case.labels))

    def test_distances_are_those_of_the_stored_bytes(self, cases, result_of, name):
        case, result = cases[CLASSES], result_of(name, CLASSES)
        change = (result.images.astype(float) - case.images).reshape(len(case.images), -1) / 255
        np.testing.assert_array_equal(result.l0, np.count_nonzero(change, axis=1))
        np.testing.assert_allclose(result.l2, np.linalg.norm(change, axis=1))
        np.testing.assert_allclose(result.linf, np.abs(change).max(axis=1))

    def test_misclassified_tiles_are_left_alone(self, cases, result_of, name):
        case, result = cases[CLASSES], result_of(name, CLASSES)
        wrong = predictions(case, case.images, 16) != case.labels
        assert 2 <= wrong.sum() < 8
        np.testing.assert_array_equal(result.images[wrong], case.images[wrong])
        for column in ("success", "float_success", "l0", "l2", "linf", "float_l2", "backwards"):
            assert not getattr(result, column)[wrong].any(), column
        assert (result.forwards[wrong] == 1).all()

    def test_passes_and_seconds_are_counted(self, cases, result_of, name):
        case, result = cases[CLASSES], result_of(name, CLASSES)
        right = result.clean_prediction == case.labels
        assert ((result.backwards[right] >= 1) == (settings_of(name).knowledge == "white-box")).all()
        assert (result.forwards[right] >= 4).all()
        assert (result.seconds > 0).all()

    def test_repeats_are_identical_and_leave_the_model_and_the_generators_alone(self, cases, result_of, name):
        first_result = result_of(name, CLASSES)
        model = cases[CLASSES].model
        model.train()
        model.features[1].eval()
        first, second = list(model.parameters())[:2]
        first.requires_grad_(False)
        second.grad = torch.ones_like(second)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002
        try:
            repeated = attacked(cases[CLASSES], name)
            drawn = torch.rand(1).item(), np.random.rand()  # noqa: NPY002
            assert [module.training for module in model.modules()].count(False) == 1
            assert not model.features[1].training
            assert [parameter.requires_grad for parameter in model.parameters()].count(False) == 1
            assert not first.requires_grad
            assert bool((second.grad == 1).all())
            assert all(parameter.grad is None for parameter in model.parameters() if parameter is not second)
            assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        finally:
            first.requires_grad_(True)
            second.grad = None
        np.testing.assert_array_equal(repeated.images, first_result.images)
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002
        assert drawn == (torch.rand(1).item(), np.random.rand())  # noqa: NPY002


# ART's projected gradient descent starts at random points, which it draws for a batch as a whole.
@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "art ProjectedGradientDescent"])
def test_batches_do_not_matter(cases, result_of, name):
    case, eights = cases[CLASSES], result_of(name, CLASSES)
    order = np.random.default_rng(0).permutation(len(case.images))
    shuffled = replace(case, images=case.images[order], labels=case.labels[order]).attacked(settings_of(name), 5)
    np.testing.assert_array_equal(shuffled.success, eights.success[order])
    difference = np.abs(shuffled.images.astype(int) - eights.images[order])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01
    np.testing.assert_allclose(shuffled.float_l2, eights.float_l2[order], rtol=0.01, atol=1e-4)


class Constant(nn.Module):
    """Logits that do not depend on the image, with or without a graph that connects them to it."""

    def __init__(self, logits, connected):
        super().__init__()
        self.register_buffer("values", torch.tensor(logits))
        self.connected = connected

    def forward(self, images):
        logits = self.values.expand(len(images), -1)
        return logits + 0 * images.flatten(1).sum(1, keepdim=True) if self.connected else logits.clone()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("logits", [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("name", SETTINGS)
def test_no_gradient_is_a_failure_and_not_a_hang(cases, name, logits, connected):
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    images[1], images[2] = 0, 255
    labels = np.zeros(3, dtype=np.int64)
    case = replace(cases[3], model=Constant(logits, connected), images=images, labels=labels)
    result = case.attacked(settings_of(name), batch_size=2)
    assert not result.success.any()
    assert not result.float_success.any()
    assert (result.adversarial_prediction == 0).all()
    assert np.isfinite(result.float_l2).all()


@pytest.mark.parametrize(("name", "classes"), [victim for victim in VICTIMS if victim[0] in BUDGET])
def test_budgets_hold(floats_of, name, classes):
    _, victim = floats_of(name, classes)
    forwards, backwards = BUDGET[name]
    assert int(victim.forwards.max()) <= forwards
    assert int(victim.backwards.max()) <= backwards


@pytest.mark.parametrize("classes", [CLASSES, *OTHER_CLASSES])
@pytest.mark.parametrize("name", ATTACKS)
def test_the_floats_of_defaults_fool_the_small_model(cases, floats_of, name, classes):
    case = cases[classes]
    floats, _ = floats_of(name, classes)
    right = predictions(case, case.images, 16) == case.labels
    with freeze(case.model) as model, torch.no_grad():
        fooled = (model(floats).argmax(1) != case.truth).numpy()
    assert fooled[right].mean() >= 0.9


@pytest.mark.parametrize("name", ATTACKS)
def test_the_results_of_defaults_fool_the_small_model(cases, result_of, name):
    result = result_of(name, CLASSES)
    right = result.clean_prediction == cases[CLASSES].labels
    assert result.float_success[right].mean() >= 0.9
    assert result.success[right].mean() >= 0.9
