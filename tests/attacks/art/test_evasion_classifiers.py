"""Our attacks on the toolbox's classifiers: preprocessing, forms of images and labels, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from art.defences.preprocessor import JpegCompression
from torch import nn

from raypipe.attacks.art import evasion
from raypipe.attacks.art.evasion import base
from raypipe.attacks.engine.prepare import prepare
from tests.attacks.art.toolbox import (
    MEAN,
    STD,
    Blur,
    ChannelsLast,
    Normalized,
    WithAuxiliary,
    predicted,
    to_art_classifier,
)


def test_forms_of_labels_mean_the_same(cases, classifier, x):
    labels = cases[3].labels
    attack = evasion.DeepFool(classifier)
    found = attack.generate(x, labels)
    for y in (labels[:, None], np.eye(3)[labels], list(labels)):
        np.testing.assert_array_equal(attack.generate(x, y), found)
    np.testing.assert_array_equal(attack.generate(x), attack.generate(x, predicted(classifier, x)))
    np.testing.assert_array_equal(attack.generate(x=x, y=labels), found)


@pytest.mark.parametrize("mean", [MEAN, 0.5])
def test_preprocessing_is_honored(cases, classifier, x, mean):
    std = STD if mean is MEAN else 0.25
    inside = Normalized(cases[3].model, mean=mean, std=std)
    options = {"preprocessing": (np.float32(mean), np.float32(std))}
    standardising = to_art_classifier(inside, **options)
    np.testing.assert_allclose(standardising.predict(x), classifier.predict(x), rtol=1e-4, atol=1e-4)
    found = evasion.DeepFool(standardising).generate(x)
    np.testing.assert_allclose(found, evasion.DeepFool(classifier).generate(x), atol=1e-4)


def test_preprocessing_in_pytorch_is_attacked_too(cases, x):
    blur = Blur(device_type="cpu")
    blurring = to_art_classifier(cases[3].model, preprocessing_defences=blur, preprocessing=(0.1, 0.9))
    found = evasion.DeepFool(blurring).generate(x)
    assert (predicted(blurring, found) != predicted(blurring, x)).all()


def test_channels_may_come_last(cases, classifier, x):
    last = to_art_classifier(ChannelsLast(cases[3].model), shape=(16, 16, 3), channels_first=False)
    found = evasion.DeepFool(last).generate(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), evasion.DeepFool(classifier).generate(x), atol=1e-5)


def test_auxiliary_heads_do_not_matter(cases, classifier, x):
    model = WithAuxiliary(cases[3].model).train()
    found = evasion.DeepFool(to_art_classifier(model)).generate(x)
    np.testing.assert_allclose(found, evasion.DeepFool(classifier).generate(x), atol=1e-5)
    assert model.training


def test_the_classifier_is_left_as_it_was(classifier, x):
    model = classifier.model
    model.train()
    model.features[1].eval()
    first, second = list(model.parameters())[:2]
    first.requires_grad_(False)
    second.grad = torch.ones_like(second)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    evasion.DeepFool(classifier).generate(x)
    assert [module.training for module in model.modules()].count(False) == 1
    assert not model.features[1].training
    assert [parameter.requires_grad for parameter in model.parameters()].count(False) == 1
    assert not first.requires_grad
    assert bool((second.grad == 1).all())
    assert all(parameter.grad is None for parameter in model.parameters() if parameter is not second)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Biased(nn.Module):
    """A model with a larger error than the rounding of any fast model: it favors class 1."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images) + torch.tensor([0.0, 0.2, 0.0])


def test_the_classifier_itself_is_fooled_not_its_fast_form(monkeypatch, classifier, x):
    def prepared(model, *arguments, **options):
        made = prepare(model, *arguments, **options)
        return replace(made, fast=Biased(made.fast))

    clean = predicted(classifier, x)
    monkeypatch.setattr(base, "prepare", prepared)
    assert (predicted(classifier, evasion.DeepFool(classifier).generate(x)) != clean).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_values": None}, "no clip_values"),
        ({"clip_values": (np.zeros((3, 16, 16)), np.linspace(1, 2, 768).reshape(3, 16, 16))}, "differ from pixel"),
        ({"shape": (768,)}, "expected that of an image"),
        (
            {"preprocessing_defences": JpegCompression((0, 1), channels_first=True)},
            "preprocessing by JpegCompression has no gradient",
        ),
    ],
)
def test_a_classifier_that_cannot_be_attacked_is_refused(cases, options, message):
    with pytest.raises(ValueError, match=message):
        evasion.DeepFool(to_art_classifier(cases[3].model, **options))


def test_parameters_are_checked_under_their_own_names(classifier):
    with pytest.raises(ValueError, match=r"DeepFool: epsilon: .* greater than or equal to 0"):
        evasion.DeepFool(classifier, epsilon=-1)
    with pytest.raises(ValueError, match="batch_size = 0: expected a positive integer"):
        evasion.DeepFool(classifier, batch_size=0)
    attack = evasion.CarliniL2Method(classifier)
    attack.set_params(max_iter=3, targeted=True)
    assert (attack.max_iter, attack.targeted) == (3, True)
    with pytest.raises(ValueError, match="max_iter"):
        attack.set_params(max_iter=0)
    with pytest.raises(ValueError, match="cannot be set"):
        attack.set_params(overshoot=1)
    registered = evasion.get_attack_class("deepfool")(classifier, overshoot=0.1)
    registered.set_params(overshoot=0.2, batch_size=4)
    assert registered.settings().overshoot == 0.2
    with pytest.raises(ValueError, match="DeepFool: overshoot"):
        registered.set_params(overshoot=-1)
    with pytest.raises(ValueError, match="steps"):
        evasion.get_attack_class("deepfool")(classifier, steps=3)
    with pytest.raises(ValueError, match=r"no attack 'deepfol': expected one of .*; did you mean 'deepfool'"):
        evasion.get_attack_class("deepfol")


def test_what_cannot_aim_with_its_settings_says_so_at_once(classifier):
    with pytest.raises(ValueError, match="cannot aim; use `method: published`"):
        evasion.get_attack_class("carlini_wagner_l2")(classifier, targeted=True)


def test_images_and_labels_are_checked(classifier, x):
    attack = evasion.DeepFool(classifier)
    with pytest.raises(ValueError, match=r"images \(16, 16, 16, 3\): expected"):
        attack.generate(x.transpose(0, 2, 3, 1))
    with pytest.raises(ValueError, match="3 labels for 16 images"):
        attack.generate(x, np.zeros(3, dtype=int))
    with pytest.raises(ValueError, match="takes no mask"):
        attack.generate(x, mask=np.ones_like(x))
    assert attack.generate(x[:0]).shape == (0, 3, 16, 16)
