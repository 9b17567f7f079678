"""Sigma-zero, and the sparse attack that passes it the tiles that are not fooled yet."""

import copy

import pytest
import torch
from torch import nn

from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.targets import find_runner_up
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.attacks.sigma_zero import SigmaZero, anneal_rate, sigma_zero
from raypipe.attacks.sparse_l0 import SparseL0, sparse_l0

ATTACKS = {"sigma_zero": (sigma_zero, SigmaZero), "sparse_l0": (sparse_l0, SparseL0)}


def attacked(case, name, goal=None, batch_size=64, **settings):
    attack, kind = ATTACKS[name]
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images), batch_size)
        found = attack(victim, case.floats, goal or case.goal, kind(**settings))
        predicted = model(found).argmax(1)
    return found, predicted, victim


def changed(images, found):
    return (found != images).flatten(1).sum(1)


def published(model, images, labels, steps):
    """Run sigma-zero for a whole batch, with PyTorch's own optimizer, schedule and derivatives."""
    perturbation = torch.zeros_like(images, requires_grad=True)
    adam = torch.optim.Adam([perturbation], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=steps, eta_min=0.1)
    threshold = torch.full((len(images), 1, 1, 1), 0.3)
    best, fewest = images.clone(), torch.full((len(images),), images[0].numel())
    for _ in range(steps):
        logits = model(images + perturbation)
        true = nn.functional.one_hot(labels, logits.shape[1]).bool()
        lead = logits[true] - logits.masked_fill(true, -torch.inf).amax(1)
        count = changed(perturbation.detach(), torch.zeros_like(images))
        fooled = logits.argmax(1) != labels
        better = fooled & (count < fewest)
        best[better], fewest[better] = (images + perturbation).detach()[better], count[better]
        smooth = (perturbation**2 / (perturbation**2 + 1e-3)).flatten(1).mean(1)
        adam.zero_grad()
        (lead.clamp_min(0) + smooth).sum().backward()
        perturbation.grad /= perturbation.grad.flatten(1).abs().amax(1).clamp_min(1e-12).view(-1, 1, 1, 1)
        adam.step()
        schedule.step()
        with torch.no_grad():
            perturbation.copy_((images + perturbation).clamp(0, 1) - images)
            rate = 0.01 * schedule.get_last_lr()[0]
            threshold += torch.where(fooled, rate, -rate).view(-1, 1, 1, 1)
            threshold.clamp_(0, 1)
            perturbation[perturbation.abs() < threshold] = 0
    return best


@pytest.mark.parametrize("steps", [4, 15, 40])
def test_sigma_zero_is_the_published_one(cases, steps):
    """Run in double precision, because Adam divides small gradients by their own size and amplifies float noise."""
    case = cases[3]
    images = case.floats.double()
    with freeze(copy.deepcopy(case.model).double()) as model:
        found = sigma_zero(Victim(model, len(images)), images, case.goal, SigmaZero(max_iterations=steps))
        expected = published(model, images, case.truth, steps)
        right = model(images).argmax(1) == case.truth
        successes = right & (model(found).argmax(1) != case.truth)
        assert torch.equal(model(expected).argmax(1) != case.truth, successes | ~right)
    assert successes.sum() >= 8
    torch.testing.assert_close(found[successes], expected[successes], atol=1e-4, rtol=0)


def test_the_learning_rate_falls_to_a_tenth():
    steps = torch.arange(0, 11)
    rates = anneal_rate(steps, SigmaZero(max_iterations=10, learning_rate=2.0))
    torch.testing.assert_close(rates[[0, 5, 10]], torch.tensor([2.0, 1.1, 0.2]))


@pytest.mark.parametrize("name", ATTACKS)
def test_batches_of_one_find_the_same(cases, name):
    case = cases[5]
    whole, _, _ = attacked(case, name, max_iterations=15)
    single, _, _ = attacked(case, name, max_iterations=15, batch_size=1)
    torch.testing.assert_close(single, whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ATTACKS)
def test_targets_are_reached(cases, name):
    case = cases[5]
    with freeze(case.model) as model:
        targets = find_runner_up(model(case.floats), case.truth)
    found, predicted, _ = attacked(case, name, Goal(targets, targeted=True))
    assert (predicted == targets).float().mean() >= 0.9
    assert (changed(case.floats, found) > 0).sum() >= 10


class Additive(nn.Module):
    """A model in which class 1 wins once enough weighted features are black; the least number is known."""

    weights = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, *[0.1] * 43])

    def forward(self, images):
        lead = (self.weights * images.flatten(1)).sum(1) - self.weights.sum() + 8.5
        return torch.stack([lead, torch.zeros_like(lead)], 1)


def test_sparse_l0_finds_the_least_number_of_a_linear_model():
    """Use a threshold of 8.5, which the weights 5 and 4 exceed together, but no single weight does."""
    images, labels = torch.ones(2, 3, 4, 4), torch.zeros(2, dtype=torch.long)
    found = sparse_l0(Victim(Additive(), 2), images, Goal(labels), SparseL0())
    assert (found.flatten(1) == 0).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_sparse_l0_leaves_black_white_and_clean_values(cases):
    case = cases[5]
    found, predicted, _ = attacked(case, "sparse_l0", fallback_iterations=0)
    assert (predicted != case.truth).float().mean() >= 0.9
    assert bool(((found == case.floats) | (found == 0) | (found == 1)).all())


@pytest.mark.parametrize("classes", [3, 5])
def test_sparse_l0_is_as_sparse_as_sigma_zero_for_half_the_passes(cases, classes):
    case = cases[classes]
    ours, predicted, spent = attacked(case, "sparse_l0")
    theirs, _, counted = attacked(case, "sigma_zero")
    assert bool((predicted != case.truth).all())
    assert changed(case.floats, ours).float().mean() <= changed(case.floats, theirs).float().mean()
    assert int(spent.forwards.sum()) <= 0.5 * int(counted.forwards.sum())


class Deaf(nn.Module):
    """A model that reacts to small changes only: at the ends of their range features have no effect and no gradient."""

    def forward(self, images):
        inside = (images * (1 - images)).flatten(1).mean(1)
        return torch.stack([1 + 0 * inside, 8 * inside], 1)


def test_sigma_zero_takes_over_what_resists():
    images, labels = torch.full((2, 3, 8, 8), 0.1), torch.zeros(2, dtype=torch.long)
    fooled = {}
    for steps in (0, 100):
        victim = Victim(Deaf(), 2)
        found = sparse_l0(victim, images, Goal(labels), SparseL0(fallback_iterations=steps))
        fooled[steps] = (victim.model(found).argmax(1) != labels).tolist()
    assert fooled == {0: [False, False], 100: [True, True]}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [(SigmaZero, "sigma", 0), (SigmaZero, "threshold", 2), (SparseL0, "momentum", 1), (SparseL0, "patience", 0)],
)
def test_settings_are_checked(kind, field, value):
    with pytest.raises(ValueError, match=field):
        kind(**{field: value})
