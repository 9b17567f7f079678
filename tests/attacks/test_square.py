from functools import partial

import pytest
import torch

from raypipe.attacks.art.backend import ArtAttack, art_attack
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.attacks.engine.windows import Windows, build_pattern, list_window_sides
from raypipe.attacks.square import SquareAttack, square_attack


def attacked(case, goal=None, **settings):
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        found = square_attack(victim, case.floats, goal or case.goal, SquareAttack(**settings))
        return found, model(found), victim


def test_windows_shrink_as_published():
    """Check 10,000 queries: p is halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of them."""
    sides = list_window_sides(10_000, 0.8, 224 * 224, "linf")
    assert [sides[at] for at in (0, 10, 11, 50, 51, 8001)] == [200, 200, 142, 142, 100, 9]
    assert sides == sorted(sides, reverse=True)
    assert list_window_sides(100, 0.8, 32 * 32, "linf")[5] == list_window_sides(1000, 0.8, 32 * 32, "linf")[50]
    assert set(list_window_sides(50, 0.1, 25, "l2")) == {3}


@pytest.mark.parametrize("side", [1, 2, 3, 8, 13])
def test_the_pattern_is_two_bumps_of_length_one(side):
    shape = build_pattern(side)
    assert shape.shape == (side, side)
    assert float(shape.norm()) == pytest.approx(1)
    assert bool((shape[: side // 2] > 0).all())
    assert bool((shape[side // 2 :] < 0).all())


def test_the_pattern_is_the_published_sum():
    """Compare a window of 3 with rectangles of weight 1 and 1/4, in its upper row and in its lower two."""
    above = torch.tensor([[1 / 4, 1 + 1 / 4, 1 / 4]])
    below = torch.tensor([[1 / 4, 1 / 4, 1 / 4], [1 / 4, 1 + 1 / 4, 1 / 4]])
    expected = torch.cat([above / above.norm(), -below / below.norm()])
    torch.testing.assert_close(build_pattern(3), expected / expected.norm())


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (3, 7, 4), (1, 16, 16)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_proposals_change_one_window_and_stay_in_ball_and_box(norm, shape):
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(20, *shape, generator=generator)
    clean[0], clean[1] = 0, 1
    windows, order = Windows(clean, 0.1, norm, 30, 0.8), torch.inf if norm == "linf" else 2
    points = windows.first(clean, torch.rand(20, windows.first_draws, generator=generator))
    for query in (0, 1, 29):
        draws = torch.rand(20, windows.draws, generator=generator)
        proposed = windows.propose(points, clean, torch.full((20,), query), draws)
        for found in (points, proposed):
            size = torch.linalg.vector_norm((found - clean).flatten(1), ord=order, dim=1)
            assert float(size.max()) <= 0.1 + 1e-6
            assert 0 <= float(found.min()) <= float(found.max()) <= 1
        if norm == "linf":
            changed = (proposed != points).flatten(1).sum(1)
            side = min(*shape[1:], list_window_sides(30, 0.8, shape[1] * shape[2], norm)[query])
            assert int(changed.max()) <= shape[0] * side**2
            assert int(changed.min()) >= 1
        points = proposed


@pytest.mark.parametrize(("norm", "theirs", "eps"), [("linf", "inf", 0.1), ("l2", 2, 6.0)])
def test_no_weaker_than_the_toolbox_s(cases, norm, theirs, eps):
    """Use two models, because both attacks are random; the toolbox draws one window per batch and thus per tile."""
    own = other = total = 0
    for classes in (3, 5):
        case = cases[classes]
        _, logits, _ = attacked(case, norm=norm, eps=eps, max_queries=60)
        parameters = {"norm": theirs, "eps": eps, "max_iter": 60}
        settings = ArtAttack(backend="art", name="SquareAttack", parameters=parameters, batch_size=4, seed=classes)
        with freeze(case.model) as model:
            made = model(art_attack(Victim(model, len(case.images)), case.floats, case.goal, settings))
        own += int((logits.argmax(1) != case.truth).sum())
        other += int((made.argmax(1) != case.truth).sum())
        total += len(case.images)
    assert own >= other - 0.1 * total
    assert 0.3 * total < own


def test_a_tile_leaves_when_it_is_fooled_and_restarts_are_for_the_others(cases):
    run = partial(attacked, cases[3], eps=0.1, max_queries=20, early_stop=True)
    once, logits, first = run()
    more, _, both = run(restarts=2)
    fooled = logits.argmax(1) != cases[3].truth
    assert 2 < fooled.sum() < 15
    assert torch.equal(more[fooled], once[fooled])
    assert torch.equal(both.forwards[fooled], first.forwards[fooled])
    assert set(first.forwards[~fooled].tolist()) == {1 + 20}
    assert bool((both.forwards[~fooled] > 1 + 20).all())
    assert not both.backwards.any()


def test_another_seed_is_another_search(cases):
    assert not torch.equal(attacked(cases[3], max_queries=3, seed=0)[0], attacked(cases[3], max_queries=3, seed=1)[0])


def test_a_target_is_reached(cases):
    targets = (cases[5].truth + 1) % 5
    _, logits, _ = attacked(cases[5], Goal(targets, targeted=True), eps=0.4, max_queries=200, target="random")
    assert (logits.argmax(1) == targets).float().mean() >= 0.6
