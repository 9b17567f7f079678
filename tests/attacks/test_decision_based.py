"""Attacks on predicted classes alone, and the number of queries that each tile needs."""

from functools import partial

import numpy as np
import pytest
import torch

from raypipe.attacks.art.backend import ArtAttack, art_attack
from raypipe.attacks.cgba import GeometricBlackBox, geometric_black_box
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.norms import measure_sizes
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.attacks.fgsm import FastGradient
from raypipe.attacks.rays import RayS, ray_search
from raypipe.attacks.square import SquareAttack, square_attack

RUNS = {"rays": (ray_search, RayS), "cgba": (geometric_black_box, GeometricBlackBox)}


def attacked(case, name, goal=None, **settings):
    run, kind = RUNS[name]
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        found = run(victim, case.floats, goal or case.goal, kind(**settings))
        return found, model(found).argmax(1), victim


@pytest.mark.parametrize("name", RUNS)
def test_only_predicted_classes_count(cases, name):
    """Replace the logits by the decision: the search must not change."""
    case = cases[5]

    class Decision(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = case.model

        def forward(self, images):
            return torch.nn.functional.one_hot(self.model(images).argmax(1), 5).float()

    found, _, _ = attacked(case, name, max_queries=40)
    with freeze(Decision()) as model:
        run, kind = RUNS[name]
        same = run(Victim(model, len(case.images)), case.floats, case.goal, kind(max_queries=40))
    assert torch.equal(found, same)


@pytest.mark.parametrize(("name", "norm", "theirs"), [("rays", "linf", "inf"), ("cgba", "l2", 2)])
def test_no_farther_than_hop_skip_jump_at_equal_queries(cases, name, norm, theirs):
    case = cases[5]
    parameters = {"norm": theirs, "max_iter": 2, "max_eval": 60, "init_eval": 40, "init_size": 20}
    settings = ArtAttack(backend="art", name="HopSkipJump", parameters=parameters, batch_size=16)
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        other = art_attack(victim, case.floats, case.goal, settings)
        other_fooled = model(other).argmax(1) != case.truth
    budget = int(victim.forwards.float().mean())
    found, predicted, own = attacked(case, name, max_queries=budget)
    both = (predicted != case.truth) & other_fooled & (found != case.floats).flatten(1).any(1)
    assert both.sum() >= 10
    assert int(own.forwards.max()) <= budget + 1
    reached, theirs_reached = (measure_sizes(points - case.floats, norm)[both].mean() for points in (found, other))
    assert reached <= theirs_reached


@pytest.mark.parametrize(("name", "eps"), [("rays", 18 / 255), ("cgba", 1.8)])
def test_more_queries_fool_the_same_tiles_after_the_same_number_and_others_later(cases, name, eps):
    run = partial(attacked, cases[5], name, eps=eps)
    _, predicted, few = run(max_queries=60)
    _, _, many = run(max_queries=120)
    early = many.queries * (many.queries <= 60)
    assert torch.equal(few.queries, early)
    assert 2 < (few.queries > 0).sum() <= (many.queries > 0).sum()
    noted = few.queries > 0
    assert bool((predicted[noted] != cases[5].truth[noted]).all())
    assert torch.equal(few.forwards[noted] - 1, few.queries[noted]), "the attack leaves a tile at its first success"


@pytest.mark.parametrize("settings", [RayS(eps=18 / 255, max_queries=80), GeometricBlackBox(eps=1.8, max_queries=80)])
def test_the_stored_tile_of_a_noted_success_fools_within_the_bound(cases, settings):
    """The success was tested on 8-bit pixels, so rounding cannot undo it."""
    case = cases[5]
    result = case.attacked(settings, batch_size=16)
    noted = result.queries > 0
    assert noted.sum() > 5
    assert result.success[noted].all()
    distances = result.linf if settings.norm == "linf" else result.l2
    assert (distances[noted] <= settings.eps * (1 + 1e-6)).all()
    assert not result.queries[~result.success].any()


def test_square_notes_the_query_of_its_first_success(cases):
    case, settings = cases[5], SquareAttack(eps=40 / 255, max_queries=50, early_stop=True)
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        square_attack(victim, case.floats, case.goal, settings)
    result = case.attacked(settings)
    right = result.clean_prediction == case.labels
    early = right & (victim.queries.numpy() > 0)
    assert early.sum() > 5
    np.testing.assert_array_equal(victim.queries[early], victim.forwards[early] - 1)
    np.testing.assert_array_equal(result.queries[early], victim.queries[early])


def test_white_box_attacks_have_no_number_of_queries(cases):
    result = cases[5].attacked(FastGradient(eps=0.15))
    assert result.success.sum() > 5
    assert not result.queries.any()


def test_another_seed_is_another_search(cases):
    found, other = (attacked(cases[3], "cgba", max_queries=40, seed=seed)[0] for seed in (0, 1))
    assert not torch.equal(found, other)


@pytest.mark.parametrize("name", RUNS)
def test_a_target_is_reached(cases, name):
    targets = (cases[5].truth + 1) % 5
    _, predicted, _ = attacked(cases[5], name, Goal(targets, targeted=True), max_queries=80, target="random")
    assert (predicted == targets).float().mean() >= 0.5
