import math

import numpy as np
import pytest
import torch
from art.attacks.evasion import SaliencyMapMethod
from art.estimators.classification import PyTorchClassifier
from torch import nn

from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.targets import draw_targets, find_runner_up
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.attacks.saliency_map import CAREFUL, SaliencyMap, saliency_map

EXACT = {"growth": 1.0, "prune": 0}


def attacked(case, goal=None, batch_size=64, **settings):
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images), batch_size)
        found = saliency_map(victim, case.floats, goal or case.goal, SaliencyMap(**settings))
        predicted = model(found).argmax(1)
    return found, predicted, victim


def targets_of(case, seed):
    return draw_targets(case.floats, case.truth, int(case.truth.max()) + 1, seed)


def changed(case, found):
    return (found != case.floats).flatten(1).sum(1)


def of_art(case, targets, **parameters):
    """Return ART's result for the tiles that are classified correctly, and the mask of these tiles."""
    with freeze(case.model) as model:
        classes = int(case.truth.max()) + 1
        classifier = PyTorchClassifier(
            model, nn.CrossEntropyLoss(), (3, 16, 16), classes, clip_values=(0.0, 1.0), device_type="cpu"
        )
        right = model(case.floats).argmax(1) == case.truth
        method = SaliencyMapMethod(classifier, batch_size=16, verbose=False, **parameters)
        return method.generate(case.floats[right].numpy(), y=targets[right].numpy()), right


@pytest.mark.parametrize("batch_size", [64, 3])
@pytest.mark.parametrize("theta", [1.0, 0.3, -0.4])
def test_features_are_those_of_art(cases, theta, batch_size):
    """Take one pair per step and restore none: the features are ART's, each moved as far as ART moves it."""
    case = cases[3]
    targets = targets_of(case, 4)
    theirs, right = of_art(case, targets, theta=theta)
    ours, predicted, _ = attacked(case, Goal(targets, targeted=True), batch_size, theta=theta, **EXACT)
    assert right.sum() >= 10
    assert bool((predicted[right] == targets[right]).all())
    assert (changed(case, ours)[right] >= 4).all()
    np.testing.assert_array_equal(ours[right].numpy(), theirs)


def test_it_stops_where_art_stops(cases):
    """Stop at a share of the features that is too small for success."""
    case = cases[3]
    targets = targets_of(case, 4)
    theirs, right = of_art(case, targets, theta=0.3, gamma=0.01)
    ours, predicted, _ = attacked(case, Goal(targets, targeted=True), theta=0.3, gamma=0.01, **EXACT)
    assert not bool((predicted[right] == targets[right]).all())
    np.testing.assert_array_equal(ours[right].numpy(), theirs)


@pytest.mark.parametrize("theta", [1.0, -0.4])
def test_the_published_rule_takes_the_best_of_all_pairs(cases, theta):
    """Compare the first step with all pairs of a tile's features."""
    case = cases[5]
    found, _, _ = attacked(case, rule="pair", theta=theta, max_iterations=1, attempts=1, **EXACT)
    with freeze(case.model) as model:
        for tile, label, moved in zip(case.floats, case.truth, found, strict=True):
            logits = model(tile[None])
            if int(logits.argmax()) != int(label):
                continue
            aim = int(find_runner_up(logits, label[None]))
            jacobian = torch.autograd.functional.jacobian(lambda x: model(x)[0], tile[None]).flatten(1).double()
            up = 1 if theta > 0 else -1
            target, others = up * jacobian[aim], up * (jacobian.sum(0) - jacobian[aim])
            alpha, beta = target[:, None] + target, others[:, None] + others
            score = torch.where((alpha > 0) & (beta < 0), -alpha * beta, 0).fill_diagonal_(0)
            movable = (tile < 1 if up > 0 else tile > 0).flatten()
            score *= movable[:, None] & movable
            pair = (moved != tile).flatten().nonzero()[:, 0]
            assert len(pair) == 2
            assert float(score[pair[0], pair[1]]) == pytest.approx(float(score.max()), rel=1e-4)


@pytest.mark.parametrize("rule", ["art", "pair"])
def test_pairs_grow_and_save_passes(cases, rule):
    slow, _, counted = attacked(cases[3], rule=rule, **EXACT)
    fast, predicted, saved = attacked(cases[3], rule=rule, growth=1.3, prune=0)
    assert bool((predicted != cases[3].truth).all())
    assert int(saved.backwards.sum()) < 0.6 * int(counted.backwards.sum())
    assert changed(cases[3], fast).sum() >= changed(cases[3], slow).sum()


@pytest.mark.parametrize("theta", [1.0, 0.1])
def test_growing_and_pruned_changes_hardly_more_than_pair_by_pair(cases, theta):
    """Compare the defaults with the toolbox's rule for both step sizes."""
    case = cases[3]
    slow, _, counted = attacked(case, theta=theta, **EXACT)
    fast, predicted, saved = attacked(case)
    assert bool((predicted != case.truth).all())
    assert changed(case, fast).median() <= 1.1 * changed(case, slow).median()
    assert int(saved.backwards.sum()) < 0.6 * int(counted.backwards.sum())


def test_pruning_restores_features_and_keeps_the_success(cases):
    case = cases[5]
    whole, _, _ = attacked(case, growth=1.3, prune=0)
    pruned, predicted, _ = attacked(case, growth=1.3, prune=2)
    assert bool((predicted != case.truth).all())
    assert changed(case, pruned).sum() < changed(case, whole).sum()
    assert (changed(case, pruned) <= changed(case, whole)).all()
    still = pruned != case.floats
    assert torch.equal(pruned[still], whole[still])


def test_a_targeted_goal_is_aimed_at_and_reached(cases):
    case = cases[5]
    targets = targets_of(case, 1)
    found, predicted, _ = attacked(case, Goal(targets, targeted=True))
    moved = changed(case, found) > 0
    assert moved.sum() >= 10
    assert torch.equal(predicted[moved], targets[moved])


def test_the_clean_prediction_costs_no_pass_of_its_own(cases):
    _, _, victim = attacked(cases[3], max_iterations=1, attempts=1, prune=0)
    assert int(victim.forwards.max()) == 2
    assert int(victim.backwards.max()) == 1


class Unwilling(nn.Module):
    """A model whose left half favors class 1, the runner-up, too little; its right half can make class 2 win."""

    def forward(self, images):
        left, right = images[..., :2].flatten(1).mean(1), images[..., 2:].flatten(1).mean(1)
        return torch.stack([torch.full_like(left, 2.0), left, 4 * right - 1], 1)


@pytest.mark.parametrize(("attempts", "fooled"), [(1, False), (2, True)])
def test_the_next_class_is_tried_where_the_runner_up_cannot_be_reached(attempts, fooled):
    images, labels = torch.full((2, 3, 4, 4), 0.2), torch.zeros(2, dtype=torch.long)
    victim = Victim(Unwilling(), 2)
    found = saliency_map(victim, images, Goal(labels), SaliencyMap(theta=0.1, attempts=attempts, gamma=0.5))
    assert (victim.model(found).argmax(1) != labels).tolist() == [fooled] * 2
    if fooled:
        assert torch.equal(found[..., :2], images[..., :2])


class Deaf(nn.Module):
    """A model in which every raised value makes the other classes less likely."""

    def forward(self, images):
        dark = 1 - images.flatten(1).mean(1)
        return torch.stack([torch.full_like(dark, 2.0), dark, dark / 2], 1)


def test_a_tile_that_nothing_helps_against_is_given_up_in_few_steps():
    """Use a tile on which, pair by pair, each of its 1,536 pairs would take a step for each class in turn."""
    images = torch.full((2, 3, 32, 32), 0.2)
    victim = Victim(Deaf(), 2)
    found = saliency_map(victim, images, Goal(torch.zeros(2, dtype=torch.long)), SaliencyMap())
    assert bool((victim.model(found).argmax(1) == 0).all())
    growing = math.log(images[0].numel(), SaliencyMap().growth)
    assert int(victim.forwards.max()) <= 2 * (CAREFUL + growing + 2)


@pytest.mark.parametrize("rule", ["art", "pair"])
@pytest.mark.parametrize("growth", [1.0, 1.07, 2.0])
def test_gamma_bounds_the_changed_features(cases, growth, rule):
    found, _, _ = attacked(cases[3], gamma=0.01, growth=growth, rule=rule, prune=0, theta=0.2, attempts=1)
    assert 6 <= int(changed(cases[3], found).max()) <= 7 + 2  # out of 768


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
    targets = draw_targets(images, labels, 4, seed=0)
    assert not bool((targets == labels).any())
    assert torch.bincount((targets - labels) % 4, minlength=4)[1:].min() > 70
    assert torch.equal(draw_targets(images.flip(0), labels.flip(0), 4, seed=0).flip(0), targets)
    assert not torch.equal(draw_targets(images, labels, 4, seed=1), targets)


@pytest.mark.parametrize(
    ("field", "value"),
    [("theta", 0), ("theta", 1.5), ("gamma", 0), ("gamma", 1.1), ("growth", 0.9), ("aim", "y"), ("rule", "best")],
)
def test_settings_are_checked(field, value):
    with pytest.raises(ValueError, match=field):
        SaliencyMap(**{field: value})
