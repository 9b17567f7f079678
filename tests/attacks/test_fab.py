import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, lsq_linear
from torch import nn

from raypipe.attacks.deepfool import DeepFool, deepfool
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.hyperplane import project_onto_hyperplane
from raypipe.attacks.engine.norms import measure_sizes
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.attacks.fab import FastAdaptiveBoundary, fast_adaptive_boundary


def attacked(case, goal=None, **options):
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        found = fast_adaptive_boundary(victim, case.floats, goal or case.goal, FastAdaptiveBoundary(**options))
        return found, model(found), victim


def shortest_move(point, normal, gap, norm):
    """Return the shortest move by linear programming, or by least squares with a heavy weight on the hyperplane."""
    if norm == "l2":
        rows = np.vstack([np.eye(len(point)), 1e4 * normal])
        return lsq_linear(rows, np.append(np.zeros(len(point)), 1e4 * gap), (-point - 1e-9, 1 - point + 1e-9)).x
    eye, ones = np.eye(len(point)), np.ones((len(point), 1))
    bounds = [(-value, 1 - value) for value in point] + [(0, None)]
    sides = np.vstack([np.hstack([eye, -ones]), np.hstack([-eye, -ones])])
    cost = np.append(np.zeros(len(point)), 1)
    return linprog(cost, sides, np.zeros(2 * len(point)), [np.append(normal, 0)], [gap], bounds).x[:-1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(["linf", "l2"]), size=st.integers(1, 9))
def test_a_move_is_the_shortest_to_the_hyperplane(seed, norm, size):
    rng = np.random.default_rng(seed)
    point, normal = rng.uniform(size=size).round(1), rng.normal(size=size)
    gap = normal @ (rng.uniform(size=size) - point)
    tensors = (torch.from_numpy(np.array(values)) for values in (point[None], normal[None], [gap]))
    move = project_onto_hyperplane(*tensors, norm)
    assert float(move[0] @ torch.from_numpy(normal)) == pytest.approx(gap, abs=1e-9)
    landed = move[0].numpy() + point
    assert -1e-9 <= landed.min() <= landed.max() <= 1 + 1e-9
    best = torch.from_numpy(shortest_move(point, normal, gap, norm))[None]
    assert float(measure_sizes(move, norm)) == pytest.approx(float(measure_sizes(best, norm)), abs=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_cannot_be_reached_is_approached_and_no_normal_means_no_move(norm):
    points = torch.tensor([[0.2, 0.7, 0.0], [0.2, 0.7, 0.0], [0.2, 0.7, 1.0]])
    normals = torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.0, 0.0], [1e-30, 0.0, 1e-30]])
    moves = project_onto_hyperplane(points, normals, torch.tensor([100.0, 1.0, -3.0]), norm)
    expected = torch.tensor([[0.8, -0.7, 0.0], [0.0, 0.0, 0.0], [-0.2, 0.0, -1.0]])
    torch.testing.assert_close(moves, expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_model_it_ends_beyond_the_boundary_by_what_it_stretches(norm):
    """Check the end point on a linear model, which is at 1.005 of the distance to the boundary.

    Inside the box, the boundary is as far as the lead divided by the dual norm of its gradient. A point drawn back to
    0.9 of that distance, and sent to the boundary with a stretch of 1.05, ends at 1.005 of it.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
        images = torch.rand(8, 3, 4, 4) * 0.2 + 0.4
    with freeze(model):
        logits = model(images)
        goal = Goal(logits.argmax(1))
        found = fast_adaptive_boundary(
            Victim(model, 8), images, goal, FastAdaptiveBoundary(norm=norm, max_iterations=20)
        )
        assert bool((model(found).argmax(1) != goal.classes).all())
    normal = model[1].weight[0] - model[1].weight[1]
    distances = (logits[:, 0] - logits[:, 1]).abs() / normal.norm(p=1 if norm == "linf" else 2)
    excess = (measure_sizes(found - images, norm) / distances).detach()
    assert 1 - 1e-4 < excess.min().item() <= excess.max().item() < 1.006


def test_shorter_than_deepfool_in_its_own_norm(cases):
    case = cases[5]
    found, logits, _ = attacked(case, norm="l2", max_iterations=15)
    with freeze(case.model) as model:
        other = deepfool(Victim(model, len(case.images)), case.floats, case.goal, DeepFool())
    assert bool((logits.argmax(1) != case.truth).all())
    moved = (found != case.floats).flatten(1).any(1)
    lengths = [measure_sizes(images - case.floats, "l2")[moved] for images in (found, other)]
    assert float(lengths[0].mean()) < float(lengths[1].mean())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_targets_and_restarts_never_lengthen(cases, norm):
    mean = [
        float(measure_sizes(attacked(cases[5], norm=norm, max_iterations=6, **more)[0] - cases[5].floats, norm).mean())
        for more in ({"targets": 1}, {"targets": 4}, {"targets": 4, "restarts": 2})
    ]
    assert mean[0] >= mean[1] >= mean[2]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_with_a_bound_only_what_is_within_counts_and_a_tile_leaves_at_once(cases, norm):
    case = cases[3]
    minimal, _, free = attacked(case, norm=norm, max_iterations=10)
    distances = measure_sizes(minimal - case.floats, norm)
    eps = float(distances[distances > 0].median()) * 1.01
    found, logits, bounded = attacked(case, norm=norm, max_iterations=10, eps=eps)
    assert float(measure_sizes(found - case.floats, norm).max()) <= eps + 1e-6
    within = distances <= eps
    assert bool((logits.argmax(1) != case.truth)[within].all())
    assert 3 < int(within.sum()) < 14
    assert bool((bounded.forwards[within & (distances > 0)] < free.forwards[within & (distances > 0)]).any())


def test_a_target_is_reached(cases):
    targets = (cases[5].truth + 2) % 5
    _, logits, _ = attacked(cases[5], Goal(targets, targeted=True), target="random", max_iterations=30)
    assert (logits.argmax(1) == targets).float().mean() >= 0.9


def test_settings_that_contradict_each_other():
    with pytest.raises(ValueError, match="targets = 2: `target: random` is a single target"):
        FastAdaptiveBoundary(targets=2, target="random")
    with pytest.raises(ValueError, match=r"eps = 8: expected 0\.\.1, pixels are scaled; did you mean 8/255\?"):
        FastAdaptiveBoundary(eps=8)
