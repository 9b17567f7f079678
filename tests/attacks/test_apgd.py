from functools import partial

import pytest
import torch
from torch import nn

from raypipe.attacks.apgd import AutoProjectedGradient, auto_projected_gradient, list_checkpoints
from raypipe.attacks.art.backend import ArtAttack, art_attack
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.norms import draw_points
from raypipe.attacks.engine.victim import Victim, freeze


def attacked(case, goal=None, **settings):
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        found = auto_projected_gradient(victim, case.floats, goal or case.goal, AutoProjectedGradient(**settings))
        logits = model(found)
    return found, logits, victim


def test_checkpoints_are_the_published_ones():
    assert list_checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list_checkpoints(50) == [11, 21, 29, 35, 40, 44, 47, 50]
    assert list_checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]
    assert list_checkpoints(1) == [1]


def by_the_book(loss_of, clean, start, eps, iterations, first):
    """Return the best point and the step sizes of the paper's Algorithm 1, for one image and linf, with plain lists."""

    def into(point):
        return torch.minimum(torch.maximum(point, clean - eps), clean + eps).clamp(0, 1)

    def look(point):
        point = point.clone().requires_grad_()
        loss = loss_of(point)
        return loss.item(), torch.autograd.grad(loss, point)[0]

    checks = [0, *list_checkpoints(iterations)]
    loss, gradient = look(start)
    losses, best = [loss], (loss, start, gradient)
    size, sizes, bests = first * eps, [first * eps], [loss]
    here, before = start, start
    for k in range(1, iterations + 1):
        target, momentum = into(here + size * gradient.sign()), 0.75 if k > 1 else 1
        here, before = into(here + momentum * (target - here) + (1 - momentum) * (here - before)), here
        loss, gradient = look(here)
        losses.append(loss)
        if loss > best[0]:
            best = (loss, here, gradient)
        if k in checks:
            last = checks[checks.index(k) - 1]
            rises = sum(losses[i + 1] > losses[i] for i in range(last, k))
            unchanged = len(sizes) < 2 or sizes[-1] == sizes[-2]
            if rises <= 0.75 * (k - last) or (unchanged and best[0] <= bests[-1]):
                size, here, gradient = size / 2, best[1], best[2]
            sizes.append(size)
            bests.append(best[0])
    return best[1], tuple(sizes)


@pytest.mark.parametrize("first", [2, 0.25])
def test_the_search_is_the_published_one(first):
    """Run in double precision on a smooth model that is never fooled: each tile follows the path of a plain loop."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, 30), nn.Tanh(), nn.Linear(30, 3)).double()
        images = torch.rand(6, 3, 4, 4, dtype=torch.double)
    model[1].weight.data *= 6
    model[3].bias.data[0] += 50
    goal = Goal(torch.zeros(6, dtype=torch.long))
    schedules = set()
    with freeze(model):
        settings = AutoProjectedGradient(eps=0.2, max_iterations=60, initial_step=first)
        found = auto_projected_gradient(Victim(model, 6, batch_size=4), images, goal, settings)
        begun = draw_points(images, 0.2, "linf", key="0 0")
        for image, point, own in zip(images, begun, found, strict=True):
            # Far below 1, the cross-entropy is the sum of the other classes' odds, which has no digits to cancel.
            expected, sizes = by_the_book(
                lambda tile: (model(tile[None])[:, 1:] - model(tile[None])[:, :1]).exp().sum(),
                image,
                point,
                0.2,
                60,
                first,
            )
            torch.testing.assert_close(own, expected, atol=1e-9, rtol=0)
            schedules.add(sizes)
    assert len(schedules) > 1


@pytest.mark.parametrize(("norm", "theirs", "eps"), [("linf", "inf", 0.03), ("l2", 2, 0.6)])
def test_no_weaker_than_the_toolbox_s(cases, norm, theirs, eps):
    case = cases[5]
    _, logits, _ = attacked(case, norm=norm, eps=eps, max_iterations=15)
    parameters = {"norm": theirs, "eps": eps, "eps_step": 2 * eps, "max_iter": 15, "nb_random_init": 1}
    settings = ArtAttack(backend="art", name="AutoProjectedGradientDescent", parameters=parameters)
    with freeze(case.model) as model:
        other = model(art_attack(Victim(model, len(case.images)), case.floats, case.goal, settings))
    successes = [(scores.argmax(1) != case.truth).sum() for scores in (logits, other)]
    assert 4 <= successes[1] < 14
    assert successes[0] >= successes[1]


@pytest.mark.parametrize("settings", [{"loss": "dlr"}, {"loss": "dlr", "targets": 3}, {"targets": 2}, {"norm": "l2"}])
def test_points_stay_in_the_ball_and_fool(cases, settings):
    case, eps = cases[5], 2.5 if settings.get("norm") else 0.12
    found, logits, _ = attacked(case, eps=eps, max_iterations=30, **settings)
    order = 2 if settings.get("norm") else torch.inf
    assert float(torch.linalg.vector_norm((found - case.floats).flatten(1), ord=order, dim=1).max()) <= eps + 1e-6
    assert (logits.argmax(1) != case.truth).float().mean() >= 0.9


def test_a_tile_leaves_when_it_is_fooled_and_restarts_are_for_the_others(cases):
    case = cases[3]
    run = partial(attacked, case, eps=0.06, max_iterations=8, early_stop=True)
    once, logits, first = run()
    more, _, both = run(restarts=2)
    fooled = logits.argmax(1) != case.truth
    assert 2 < fooled.sum() < 15
    assert torch.equal(more[fooled], once[fooled])
    assert torch.equal(both.forwards[fooled], first.forwards[fooled])
    assert set(first.forwards[~fooled].tolist()) == {1 + 9}
    assert bool((both.forwards[~fooled] > 1 + 9).all())


def test_more_targets_than_wrong_classes_are_as_many(cases):
    case = cases[3]
    _, logits, victim = attacked(case, eps=0.01, max_iterations=2, targets=9)
    standing = logits.argmax(1) == case.truth
    assert set(victim.forwards[standing].tolist()) == {1 + 2 * 3}


@pytest.mark.parametrize("loss", ["cross_entropy", "dlr"])
def test_a_target_is_reached(cases, loss):
    case = cases[5]
    targets = (case.truth + 2) % 5
    _, logits, _ = attacked(case, Goal(targets, targeted=True), eps=0.2, loss=loss, target="random", max_iterations=30)
    assert (logits.argmax(1) == targets).float().mean() >= 0.9


def test_too_few_classes_for_the_loss(cases):
    with pytest.raises(ValueError, match="dlr needs 3 classes, the model has 2"):
        attacked(cases[2], loss="dlr")
    with pytest.raises(ValueError, match="targeted dlr needs 4 classes, the model has 3"):
        attacked(cases[3], loss="dlr", targets=1)


def test_two_ways_of_aiming_are_one_too_many():
    with pytest.raises(ValueError, match="targets = 2: `target: random` is a single target"):
        AutoProjectedGradient(targets=2, target="random")
