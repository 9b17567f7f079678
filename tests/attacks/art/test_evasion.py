"""Our attacks in the toolbox's interface: its names, its arguments, its trainer and its metrics."""

import copy
import inspect

import numpy as np
import pytest
import torch
from art.attacks import evasion as theirs
from art.attacks.attack import EvasionAttack
from art.defences.trainer import AdversarialTrainer
from art.metrics import adversarial_accuracy, empirical_robustness
from art.metrics.metrics import SUPPORTED_METHODS
from torch import nn

from raypipe.attacks import ATTACKS
from raypipe.attacks.art import evasion
from raypipe.attacks.base import TargetedAttack
from tests.attacks.art.toolbox import (
    IN_PIXELS,
    NAMED,
    Normalized,
    lengths,
    numpy_seeded,
    predicted,
    size,
    to_art_classifier,
    wider,
)
from tests.attacks.conftest import WIDE_STAINS


def test_one_changed_import(cases, x):
    """Run the example of docs/attacks.md."""
    from art.estimators.classification import PyTorchClassifier  # noqa: PLC0415

    from raypipe.attacks.art.evasion import DeepFool  # noqa: PLC0415  instead of art.attacks.evasion

    classifier = PyTorchClassifier(
        model=cases[3].model, loss=nn.CrossEntropyLoss(), input_shape=(3, 16, 16), nb_classes=3, clip_values=(0.0, 1.0)
    )
    adversarial = DeepFool(classifier, max_iter=50).generate(x=x)
    assert (classifier.predict(adversarial).argmax(1) != classifier.predict(x).argmax(1)).all()


@pytest.mark.parametrize("name", NAMED)
class TestTheToolboxsNames:
    def test_arguments_are_the_toolboxs(self, name):
        def arguments(kind):
            return {key: value.default for key, value in inspect.signature(kind.__init__).parameters.items()}

        own, other = arguments(getattr(evasion, name)), arguments(getattr(theirs, name))
        assert list(own)[: len(other)] == list(other)
        assert set(own) - set(other) <= {"early_stop", "targeted"}
        assert {key: own[key] for key in other} == other | {"batch_size": 32}
        assert set(getattr(theirs, name).attack_params) <= set(getattr(evasion, name).attack_params)

    def test_as_strong_as_the_toolboxs(self, classifier, x, name):
        clean = predicted(classifier, x)
        own = getattr(evasion, name)(classifier, **NAMED[name]).generate(x)
        quiet = {"verbose": False} if "verbose" in getattr(theirs, name).attack_params else {}
        with numpy_seeded():
            other = getattr(theirs, name)(classifier, **NAMED[name], batch_size=32, **quiet).generate(x)
        success = [predicted(classifier, images) != clean for images in (own, other)]
        assert success[0].mean() >= success[1].mean()
        assert success[0].mean() >= 0.9
        both = success[0] & success[1]
        assert size(name, (own - x)[both]).mean() <= 1.005 * size(name, (other - x)[both]).mean()

    def test_the_scale_of_the_images_does_not_matter(self, cases, classifier, x, name):
        def attacked(span, low, images):
            model = (
                classifier
                if span == 1
                else to_art_classifier(wider(cases[3].model, span, low), clip_values=(low, low + span))
            )
            arguments = {key: value * span if key in IN_PIXELS else value for key, value in NAMED[name].items()}
            return getattr(evasion, name)(model, **arguments).generate(low + span * images)

        unit = attacked(1, 0, x)
        np.testing.assert_allclose(attacked(255, 0, x) / 255, unit, atol=2e-3)
        np.testing.assert_allclose((attacked(2, -1, x) + 1) / 2, unit, atol=2e-3)


def attack_of(name, classifier, **options):
    """Return one of our attacks with a bound that is large enough for the small model, and a small number of steps."""
    enough = {"eps": 0.12, "area": 0.5, "max_iterations": 40, **WIDE_STAINS}
    fitting = {key: value for key, value in enough.items() if key in ATTACKS[name].settings.model_fields}
    return evasion.get_attack_class(name)(classifier, **fitting, **options)


@pytest.mark.parametrize("name", ATTACKS)
class TestEveryAttack:
    def test_it_is_one_of_the_toolboxs(self, classifier, name):
        attack = evasion.get_attack_class(name)(classifier, batch_size=5)
        assert isinstance(attack, EvasionAttack)
        assert isinstance(attack, evasion.RaypipeAttack)
        assert evasion.get_attack_class(name) is type(attack)
        assert attack.targeted is False
        assert "batch_size=5" in repr(attack)

    def test_images_come_back_in_their_range_and_order(self, classifier, x, name):
        attack = attack_of(name, classifier, batch_size=5)
        kept = x.copy()
        found = attack.generate(x)
        np.testing.assert_array_equal(x, kept)
        assert found.shape == x.shape
        assert found.dtype == np.float32
        assert found.min() >= 0
        assert found.max() <= 1
        assert (predicted(classifier, found) != predicted(classifier, x)).mean() >= 0.9
        alone = np.concatenate([attack.generate(x[[row]]) for row in (3, 9)])
        np.testing.assert_allclose(alone, found[[3, 9]], atol=0.01)

    def test_what_has_left_its_class_is_not_touched(self, cases, classifier, x, name):
        labels = cases[3].labels
        found = attack_of(name, classifier).generate(x, labels)
        wrong = predicted(classifier, x) != labels
        assert 2 <= wrong.sum() < 8
        np.testing.assert_array_equal(found[wrong], x[wrong])

    def test_unchanged_values_are_the_same_to_the_last_bit(self, cases, name):
        images = np.random.default_rng(0).uniform(-3, 7, (4, 3, 16, 16)).astype(np.float32)
        classifier = to_art_classifier(Normalized(cases[3].model, 10.0, 3.0), clip_values=(-3, 7))
        attack = attack_of(name, classifier)
        np.testing.assert_array_equal(attack.generate(images, (predicted(classifier, images) + 1) % 3), images)

    def test_it_can_aim(self, classifier, x, name):
        targets = (predicted(classifier, x) + 1) % 3
        if not issubclass(ATTACKS[name].settings, TargetedAttack):
            with pytest.raises(ValueError, match="cannot aim at a class"):
                attack_of(name, classifier, targeted=True)
            return
        options = {"method": "published"} if name == "carlini_wagner_l2" else {}
        attack = attack_of(name, classifier, targeted=True, **options)
        assert attack.targeted is True
        assert (predicted(classifier, attack.generate(x, targets)) == targets).mean() >= 0.6
        with pytest.raises(ValueError, match="Target labels `y` need to be provided"):
            attack.generate(x)
        with pytest.raises(ValueError, match="either the attack chooses"):
            attack_of(name, classifier, targeted=True, target="runner_up", **options)


def test_a_failure_of_carlini_and_wagners_comes_back_clean(cases, classifier, x):
    clean = predicted(classifier, x)
    found = evasion.CarliniL2Method(classifier, confidence=1.0).generate(x)
    logits = classifier.predict(found)
    lead = np.sort(logits, axis=1)[:, -1] - logits[np.arange(len(x)), clean]
    changed = (found != x).any(axis=(1, 2, 3))
    assert changed.mean() >= 0.8
    assert (lead[changed] >= 0.99).all()
    hopeless = evasion.CarliniL2Method(classifier, confidence=1e4, max_iter=3).generate(x)
    np.testing.assert_array_equal(hopeless, x)


@pytest.mark.parametrize("name", sorted(NAMED.keys() - {"DeepFool", "SaliencyMapMethod"}))
def test_ours_aim_no_worse_than_the_toolboxs(classifier, x, name):
    x = x[:6]
    targets = (predicted(classifier, x) + 1) % 3
    arguments = NAMED[name] | {"targeted": True}
    own = getattr(evasion, name)(classifier, **arguments).generate(x, targets)
    with numpy_seeded():
        other = getattr(theirs, name)(classifier, **arguments, batch_size=32).generate(x, targets)
    success = [predicted(classifier, images) == targets for images in (own, other)]
    assert success[0].sum() >= max(3, success[1].sum())
    both = success[0] & success[1]
    assert size(name, (own - x)[both]).mean() <= 1.005 * size(name, (other - x)[both]).mean()


def test_the_toolboxs_trainer_trains_on_them(cases, x):
    model = copy.deepcopy(cases[3].model)
    classifier = to_art_classifier(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.01))
    attacks = [evasion.DeepFool(classifier, max_iter=3), evasion.get_attack_class("deepfool")(classifier)]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    AdversarialTrainer(classifier, attacks, ratio=1.0).fit(x, np.eye(3)[cases[3].labels], batch_size=8, nb_epochs=1)
    assert attacks[0].verbose is False
    assert not all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert (predicted(classifier, attacks[0].generate(x)) != predicted(classifier, x)).any()
    aiming = evasion.CarliniL2Method(classifier, targeted=True)
    with pytest.raises(NotImplementedError, match="targeted"):
        AdversarialTrainer(classifier, aiming).fit(x, np.eye(3)[cases[3].labels])


def test_the_toolboxs_metrics_measure_with_them(classifier, x):
    assert adversarial_accuracy(classifier, x, attack_crafter=evasion.DeepFool(classifier)) == 0.0


def test_the_toolboxs_robustness_is_measured_with_ours(monkeypatch, classifier, x):
    theirs_says = empirical_robustness(classifier, x, "fgsm", {"eps": 0.31, "eps_step": 0.02})
    monkeypatch.setitem(SUPPORTED_METHODS["fgsm"], "class", evasion.FastGradientMethod)
    ours_says = empirical_robustness(classifier, x, "fgsm", {"eps": 0.31, "eps_step": 0.02})
    assert ours_says == pytest.approx(theirs_says, rel=1e-5)


def test_the_shortest_of_several_steps_is_found(classifier, x):
    clean = predicted(classifier, x)
    found = evasion.FastGradientMethod(classifier, minimal=True, eps=0.3, eps_step=0.1).generate(x)
    steps = np.abs(found - x).max(axis=(1, 2, 3)) / 0.1
    assert (predicted(classifier, found) != clean).all()
    np.testing.assert_allclose(steps, steps.round(), atol=1e-4)
    longer = evasion.FastGradientMethod(classifier, eps=0.1).generate(x)
    np.testing.assert_array_equal(steps.round() == 1, predicted(classifier, longer) != clean)


def test_the_norm_is_the_toolboxs(classifier, x):
    for attack in (
        evasion.FastGradientMethod(classifier, norm=2, eps=1.5, num_random_init=2),
        evasion.ProjectedGradientDescent(classifier, norm=2, eps=1.5, eps_step=0.3, max_iter=5, num_random_init=1),
        evasion.AutoProjectedGradientDescent(
            classifier, norm=2, eps=1.5, max_iter=5, nb_random_init=1, loss_type="difference_logits_ratio"
        ),
    ):
        length = lengths(attack.generate(x) - x)
        assert (length <= 1.5 + 1e-4).all()
        assert length.max() > 0.3


def test_projected_gradient_descent_may_stop_early(classifier, x):
    clean = predicted(classifier, x)
    arguments = {"eps": 0.08, "eps_step": 0.02, "max_iter": 10}
    whole = classifier.predict(evasion.ProjectedGradientDescent(classifier, **arguments).generate(x))
    early = evasion.ProjectedGradientDescent(classifier, **arguments, early_stop=True).generate(x)
    early = classifier.predict(early)
    np.testing.assert_array_equal(early.argmax(1) != clean, whole.argmax(1) != clean)
    rows = np.arange(len(x))
    assert (whole.max(1) - whole[rows, clean]).mean() > (early.max(1) - early[rows, clean]).mean()


def test_saliency_maps_labels_are_targets_unless_said_otherwise(cases, classifier, x):
    clean = predicted(classifier, x)
    aimed = evasion.SaliencyMapMethod(classifier, theta=0.5).generate(x, (clean + 1) % 3)
    assert (predicted(classifier, aimed) == (clean + 1) % 3).mean() >= 0.9
    np.testing.assert_array_equal(evasion.SaliencyMapMethod(classifier, theta=0.5).generate(x, clean), x)
    left = evasion.SaliencyMapMethod(classifier, theta=0.5, targeted=False).generate(x, clean)
    np.testing.assert_array_equal(left, evasion.SaliencyMapMethod(classifier, theta=0.5).generate(x))
    assert (predicted(classifier, left) != clean).mean() >= 0.9
    with pytest.raises(NotImplementedError, match="targeted"):
        AdversarialTrainer(classifier, evasion.SaliencyMapMethod(classifier)).fit(x, np.eye(3)[clean])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("FastGradientMethod", {"norm": 1}, "norm = 1: expected 2, numpy.inf or 'inf'"),
        ("FastGradientMethod", {"eps": np.ones(3)}, "eps = .* the same for all images and pixels"),
        ("FastGradientMethod", {"summary_writer": True}, "summary_writer = True: not offered"),
        ("ProjectedGradientDescent", {"decay": 0.9}, "decay = 0.9: not offered"),
        ("ProjectedGradientDescent", {"random_eps": True}, "random_eps = True: not offered"),
        ("ProjectedGradientDescent", {"max_iter": 0}, "max_iter: Input should be greater than or equal to 1"),
        ("AutoProjectedGradientDescent", {"nb_random_init": 0}, "nb_random_init: Input should be greater"),
        ("AutoProjectedGradientDescent", {"loss_type": "margin"}, "expected one of None, cross_entropy"),
        ("SaliencyMapMethod", {"gamma": 2.0}, "gamma: Input should be less than or equal to 1"),
    ],
)
def test_what_is_not_offered_is_refused(classifier, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(evasion, name)(classifier, **arguments)
