from functools import partial

import pytest
import torch
from torch import nn

from raypipe.attacks.art.backend import ArtAttack, art_attack
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import measure_lengths
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.attacks.pgd import ProjectedGradient, projected_gradient


def attacked(case, goal=None, **settings):
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        found = projected_gradient(victim, case.floats, goal or case.goal, ProjectedGradient(**settings))
        logits = model(found)
    return found, logits, victim


def right(case):
    with freeze(case.model) as model, torch.no_grad():
        return model(case.floats).argmax(1) == case.truth


@pytest.mark.parametrize(("norm", "theirs", "eps"), [("linf", "inf", 0.04), ("l2", 2, 0.6)])
def test_the_steps_are_the_toolbox_s(cases, norm, theirs, eps):
    case = cases[5]
    # The steps are so small that the last point has the largest loss; the toolbox returns the last point.
    found, _, victim = attacked(case, norm=norm, eps=eps, step_size=0.1, max_iterations=12, early_stop=False)
    parameters = {"norm": theirs, "eps": eps, "eps_step": 0.1 * eps, "max_iter": 12}
    settings = ArtAttack(backend="art", name="ProjectedGradientDescent", parameters=parameters)
    with freeze(case.model) as model:
        expected = art_attack(Victim(model, len(case.images)), case.floats, case.goal, settings)
    # The sign of a value's gradient may depend on float noise.
    assert ((found - expected).abs() > 1e-5).float().mean() < 0.01
    assert (found != case.floats).flatten(1).any(1).tolist() == right(case).tolist()
    assert victim.forwards[right(case)].tolist() == [13] * int(right(case).sum())


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.08), ("l2", 1.0)])
def test_points_stay_in_the_ball(cases, norm, eps, random_start):
    case = cases[3]
    found, _, _ = attacked(case, norm=norm, eps=eps, random_start=random_start, step_size=2.0)
    change = found - case.floats
    size = change.flatten(1).abs().amax(1) if norm == "linf" else measure_lengths(change)
    assert float(size.max()) <= eps + 1e-6


def test_a_tile_leaves_when_it_is_fooled(cases):
    case = cases[3]
    _, logits, stopping = attacked(case, eps=0.15, early_stop=True)
    assert bool((logits.argmax(1) != case.truth).all())
    _, strong_logits, walking = attacked(case, eps=0.15, early_stop=False)
    assert set(walking.backwards[right(case)].tolist()) == {40}
    assert int(stopping.backwards.max()) < 40
    assert bool((strong_logits.argmax(1) != case.truth).all())
    of_truth = [scores.softmax(1).gather(1, case.truth[:, None])[right(case), 0] for scores in (logits, strong_logits)]
    assert bool((of_truth[1] <= of_truth[0]).all())


def test_restarts_are_for_those_that_stand(cases):
    case = cases[3]
    stopping = partial(attacked, case, eps=0.06, max_iterations=6, early_stop=True)
    once, _, first = stopping()
    more, logits, all_runs = stopping(restarts=3)
    with freeze(case.model) as model, torch.no_grad():
        fooled = model(once).argmax(1) != case.truth
    assert 2 < fooled.sum() < 15
    assert torch.equal(more[fooled], once[fooled])
    assert torch.equal(all_runs.forwards[fooled], first.forwards[fooled])
    assert bool((all_runs.forwards[~fooled] > first.forwards[~fooled]).all())
    assert int(all_runs.forwards.max()) <= 3 * 7
    assert (logits.argmax(1) != case.truth).sum() >= fooled.sum()


def test_a_random_start_gets_off_a_plateau():
    """Use a model without a gradient at the image itself, so that only a start beside the image succeeds."""
    plateau = nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.ReLU(), nn.Linear(1, 2))
    plateau[1].weight.data.fill_(1.0)
    plateau[1].bias.data.fill_(-6.0)
    plateau[3].weight.data = torch.tensor([[0.0], [10.0]])
    plateau[3].bias.data = torch.tensor([1.0, 0.0])
    images, goal = torch.full((8, 3, 2, 2), 0.5), Goal(torch.zeros(8, dtype=torch.long))
    images += torch.arange(8).view(-1, 1, 1, 1) / -255
    with freeze(plateau):
        fooled = {}
        for restarts in (1, 10):
            settings = ProjectedGradient(eps=0.1, restarts=restarts)
            found = projected_gradient(Victim(plateau, 8), images, goal, settings)
            fooled[restarts] = int((plateau(found).argmax(1) == 1).sum())
    assert fooled[1] == 0
    assert fooled[10] >= 4


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_a_target_is_reached(cases, loss):
    case = cases[5]
    targets = (case.truth + 2) % 5
    _, logits, _ = attacked(case, Goal(targets, targeted=True), eps=0.2, loss=loss, target="random")
    assert (logits.argmax(1) == targets).float().mean() >= 0.9


def test_the_seed_moves_the_start(cases):
    settings = {"random_start": True, "max_iterations": 1, "eps": 0.05}
    first, again, other = (attacked(cases[3], seed=seed, **settings)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
