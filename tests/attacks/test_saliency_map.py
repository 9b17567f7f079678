import numpy as np
import pytest
import torch
from art.attacks.evasion import SaliencyMapMethod
from art.estimators.classification import PyTorchClassifier
from torch import nn

from raypipe.attacks.goal import Goal
from raypipe.attacks.saliency_map import SaliencyMap, saliency_map
from raypipe.attacks.targets import random_targets
from raypipe.attacks.victim import Victim, frozen


def attacked(case, **settings):
    with frozen(case.model) as model:
        victim = Victim(model, len(case.images))
        found = saliency_map(victim, case.floats, case.goal, SaliencyMap(**settings))
        predicted = model(found).argmax(1)
    return found, predicted, victim


def changed(case, found):
    return (found != case.floats).flatten(1).sum(1)


@pytest.mark.parametrize("theta", [1.0, 0.3, -0.4])
def test_features_are_those_of_art(cases, theta):
    """One pair a step, nothing restored, the target as the goal: ART's features, each moved as far as ART moves it."""
    case = cases[3]
    ours, predicted, _ = attacked(case, theta=theta, growth=1.0, prune=False, goal="target", target="random", seed=4)
    targets = random_targets(case.floats, case.goal, 3, seed=4)
    with frozen(case.model) as model:
        classifier = PyTorchClassifier(
            model, nn.CrossEntropyLoss(), (3, 16, 16), 3, clip_values=(0.0, 1.0), device_type="cpu"
        )
        right = model(case.floats).argmax(1) == case.truth
        method = SaliencyMapMethod(classifier, theta=theta, batch_size=16, verbose=False)
        theirs = method.generate(case.floats[right].numpy(), y=targets[right].numpy())
    assert right.sum() >= 10
    assert bool((predicted[right] == targets[right]).all())
    assert (changed(case, ours)[right] >= 4).all()
    np.testing.assert_array_equal(ours[right].numpy(), theirs)


def test_pairs_grow_and_save_passes(cases):
    slow, _, counted = attacked(cases[3], growth=1.0, prune=False)
    fast, predicted, saved = attacked(cases[3], growth=1.3, prune=False)
    assert bool((predicted != cases[3].truth).all())
    assert int(saved.backwards.sum()) < 0.6 * int(counted.backwards.sum())
    assert changed(cases[3], fast).sum() >= changed(cases[3], slow).sum()


def test_pruning_restores_features_and_keeps_the_success(cases):
    case = cases[5]
    whole, _, _ = attacked(case, growth=1.3, prune=False)
    pruned, predicted, _ = attacked(case, growth=1.3)
    assert bool((predicted != case.truth).all())
    assert changed(case, pruned).sum() < changed(case, whole).sum()
    assert (changed(case, pruned) <= changed(case, whole)).all()
    still = pruned != case.floats
    assert torch.equal(pruned[still], whole[still])


def test_goal_target_reaches_the_target(cases):
    case = cases[5]
    found, predicted, _ = attacked(case, goal="target", target="random", seed=1)
    moved = changed(case, found) > 0
    targets = random_targets(case.floats, case.goal, 5, seed=1)
    assert moved.sum() >= 10
    assert torch.equal(predicted[moved], targets[moved])


class Unwilling(nn.Module):
    """The left half drives the runner-up, class 1, but not far enough; the right half can make class 2 win."""

    def forward(self, images):
        left, right = images[..., :2].flatten(1).mean(1), images[..., 2:].flatten(1).mean(1)
        return torch.stack([torch.full_like(left, 2.0), left, 4 * right - 1], 1)


@pytest.mark.parametrize(("attempts", "fooled"), [(1, False), (2, True)])
def test_the_next_class_is_tried_where_the_runner_up_cannot_be_reached(attempts, fooled):
    images, labels = torch.full((2, 3, 4, 4), 0.2), torch.zeros(2, dtype=torch.long)
    victim = Victim(Unwilling(), 2)
    found = saliency_map(victim, images, Goal(labels), SaliencyMap(theta=0.1, attempts=attempts, gamma=0.5))
    assert (victim.model(found).argmax(1) != labels).tolist() == [fooled] * 2


@pytest.mark.parametrize("growth", [1.0, 1.07, 2.0])
def test_gamma_bounds_the_changed_features(cases, growth):
    found, _, _ = attacked(cases[3], gamma=0.01, growth=growth, prune=False, theta=0.2)
    assert int(changed(cases[3], found).max()) == 7  # of 768


def test_the_direction_is_thetas(cases):
    up, _, _ = attacked(cases[3], theta=0.4)
    down, _, _ = attacked(cases[3], theta=-0.4)
    assert bool((up >= cases[3].floats).all())
    assert bool((down <= cases[3].floats).all())


def test_steps_are_capped_where_theta_is_lost_in_rounding(cases):
    _, _, victim = attacked(cases[3], theta=1e-12, max_iterations=20, attempts=1)
    assert int(victim.forwards.max()) <= 22


def test_random_targets_are_wrong_spread_and_bound_to_the_pixels():
    images = torch.rand(300, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(300) % 4
    targets = random_targets(images, labels, 4, seed=0)
    assert not bool((targets == labels).any())
    assert torch.bincount((targets - labels) % 4, minlength=4)[1:].min() > 70
    assert torch.equal(random_targets(images.flip(0), labels.flip(0), 4, seed=0).flip(0), targets)
    assert not torch.equal(random_targets(images, labels, 4, seed=1), targets)


@pytest.mark.parametrize(
    ("field", "value"), [("theta", 0), ("theta", 1.5), ("gamma", 0), ("gamma", 1.1), ("growth", 0.9), ("target", "y")]
)
def test_settings_are_checked(field, value):
    with pytest.raises(ValueError, match=field):
        SaliencyMap(**{field: value})
