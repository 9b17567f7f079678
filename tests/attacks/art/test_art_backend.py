import numpy as np
import torch
from art.attacks.evasion import DeepFool
from art.estimators.classification import PyTorchClassifier
from torch import nn

from raypipe.attacks.art.backend import ArtAttack, art_attack
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.victim import Victim, freeze


def attacked(case, name, batch_size=16, **parameters):
    settings = ArtAttack(backend="art", name=name, parameters=parameters, batch_size=batch_size)
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        return art_attack(victim, case.floats, case.goal, settings), victim


def test_the_result_is_arts_own(cases):
    case = cases[3]
    found, _ = attacked(case, "deepfool", max_iter=5)
    with freeze(case.model) as model:
        right = model(case.floats).argmax(1) == case.truth
        classifier = PyTorchClassifier(
            model, nn.CrossEntropyLoss(), (3, 16, 16), 3, clip_values=(0.0, 1.0), device_type="cpu"
        )
        theirs = DeepFool(classifier, max_iter=5, batch_size=16, verbose=False).generate(case.floats[right].numpy())
    np.testing.assert_array_equal(found[right].numpy(), theirs)


def test_passes_are_arts_own(cases):
    """Run projected gradient descent for three steps: a gradient in each, and predictions for labels and log."""
    _, victim = attacked(cases[3], "ProjectedGradientDescent", max_iter=3, eps=0.1, eps_step=0.04)
    assert int(victim.backwards.max()) == 3
    assert 4 <= int(victim.forwards.max()) <= 9


def test_a_sequential_model_is_not_taken_apart():
    """Pass ART a Sequential, whose children ART calls itself, so that it scores the output of the last one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.Tanh(), nn.Linear(4, 3))
    images = torch.rand(6, 3, 4, 4)
    with freeze(model):
        labels = model(images).argmax(1)
        victim = Victim(model, 6)
        found = art_attack(victim, images, Goal(labels), ArtAttack(backend="art", name="deepfool"))
    assert bool((victim.forwards > 1).all())
    assert bool((found != images).flatten(1).any(1).all())


def test_a_targeted_attack_gets_a_wrong_class(cases):
    found, _ = attacked(cases[3], "carlini_wagner_l2", targeted=True, max_iter=5, initial_const=10.0)
    with freeze(cases[3].model) as model, torch.no_grad():
        assert (model(found).argmax(1) != cases[3].truth).float().mean() > 0.8
