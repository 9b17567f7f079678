import pytest
import torch

from raypipe.attacks.apgd import AutoProjectedGradient, auto_projected_gradient
from raypipe.attacks.autoattack import AutoAttack, autoattack
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.attacks.fab import FastAdaptiveBoundary, fast_adaptive_boundary
from raypipe.attacks.square import SquareAttack, square_attack

SMALL = {"max_iterations": 6, "max_queries": 20, "targets": 9}


def attacked(case, goal=None, attack=autoattack, settings=None, **options):
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        found = attack(victim, case.floats, goal or case.goal, settings or AutoAttack(**SMALL | options))
        return found, model(found), victim


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_no_weaker_than_any_of_its_attacks(cases, classes):
    case, eps = cases[classes], 0.05
    _, logits, _ = attacked(case, eps=eps)
    standing = int((logits.argmax(1) == case.truth).sum())
    steps = {"eps": eps, "max_iterations": 6}
    for attack, settings in (
        (auto_projected_gradient, AutoProjectedGradient(**steps)),
        (auto_projected_gradient, AutoProjectedGradient(**steps, targets=9, seed=1)),
        (fast_adaptive_boundary, FastAdaptiveBoundary(**steps, targets=9)),
        (square_attack, SquareAttack(eps=eps, max_queries=20)),
    ):
        _, other, _ = attacked(case, attack=attack, settings=settings)
        assert standing <= int((other.argmax(1) == case.truth).sum())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_stands_has_been_through_all_and_its_passes_are_added(cases, norm):
    case, eps = cases[5], 0.02 if norm == "linf" else 0.3
    found, logits, victim = attacked(case, norm=norm, eps=eps)
    standing = (logits.argmax(1) == case.truth).nonzero()[:, 0]
    assert len(standing) >= 8
    order = torch.inf if norm == "linf" else 2
    assert float(torch.linalg.vector_norm((found - case.floats).flatten(1), ord=order, dim=1).max()) <= eps + 1e-6
    assert set(victim.backwards[standing].tolist()) == {6 + 4 * 6 + 4 * 6}
    least = 1 + (1 + 7 + 1) + (1 + 4 * 7 + 1) + (1 + 4 * 7 + 1) + (1 + 20 + 1)
    assert bool((victim.forwards[standing] >= least).all())


@pytest.mark.parametrize("classes", [2, 3, 5, 10])
def test_as_many_targets_as_there_are_wrong_classes(cases, classes):
    _, logits, victim = attacked(cases[classes], eps=1e-4)
    standing = logits.argmax(1) == cases[classes].truth
    assert bool(standing.sum() >= 10)
    assert set(victim.backwards[standing].tolist()) == {6 * (1 + 2 * (classes - 1))}


def test_a_target_is_reached(cases):
    targets = (cases[5].truth + 2) % 5
    _, logits, _ = attacked(cases[5], Goal(targets, targeted=True), eps=0.15, target="random", max_iterations=20)
    assert (logits.argmax(1) == targets).float().mean() >= 0.9
