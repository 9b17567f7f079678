import pytest
import torch

from raypipe.attacks.carlini_wagner import CarliniWagnerL2, carlini_wagner_l2, search_constant
from raypipe.attacks.deepfool import DeepFool, deepfool
from raypipe.attacks.engine.tanh_descent import compute_objective_gradient
from raypipe.attacks.engine.tensors import compute_margins, measure_lengths
from raypipe.attacks.engine.victim import Victim, freeze


def attacked(case, **settings):
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        found = carlini_wagner_l2(victim, case.floats, case.goal, CarliniWagnerL2(**settings))
        leads = compute_margins(model(found), case.truth)
    return found, leads, victim


def test_the_search_brackets_the_threshold():
    """Let constants from 3 and from 0.02 succeed: the brackets close in on these thresholds from both sides."""
    threshold = torch.tensor([3.0, 0.02])
    constant, lower, upper = torch.full((2,), 0.1), torch.zeros(2), torch.full((2,), torch.inf)
    tried = []
    for _ in range(14):
        tried.append(constant)
        constant, lower, upper = search_constant(constant, lower, upper, constant >= threshold)
        assert bool((lower < threshold).all())
        assert bool((upper >= threshold).all())
        assert bool(((constant > lower) & (constant < upper)).all())
    torch.testing.assert_close(torch.stack(tried[:5])[:, 0], torch.tensor([0.1, 1.0, 10.0, 5.5, 3.25]))
    torch.testing.assert_close(torch.stack(tried[:3])[:, 1], torch.tensor([0.1, 0.05, 0.025]))
    torch.testing.assert_close(upper, threshold, rtol=0.02, atol=0)


def test_the_objectives_gradient_is_the_derivative():
    generator = torch.Generator().manual_seed(0)
    clean, w, weights = (torch.rand(4, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(3))
    constants = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    offset = torch.tensor([-9.0, 9.0, -9.0, 9.0], dtype=torch.float64)
    w.requires_grad_()
    points = (w.tanh() + 1) / 2
    leads = (weights * points).flatten(1).sum(1) + offset
    objective = measure_lengths(points - clean).square() + constants * leads.clamp_min(0)
    (expected,) = torch.autograd.grad(objective.sum(), w)
    found = compute_objective_gradient(clean, points.detach(), weights, constants, leads.detach())
    torch.testing.assert_close(found, expected)


def test_the_hinge_has_no_gradient_after_success():
    clean, points = torch.rand(2, 3, 2, 2), torch.rand(2, 3, 2, 2)
    arguments = {"clean": clean, "points": points, "constants": torch.ones(2), "leads": torch.tensor([-0.1, 0.1])}
    some = compute_objective_gradient(slopes=torch.ones_like(clean), **arguments)
    none = compute_objective_gradient(slopes=torch.zeros_like(clean), **arguments)
    assert torch.equal(some[0], none[0])
    assert not torch.equal(some[1], none[1])


@pytest.mark.parametrize("settings", [{}, {"method": "published", "learning_rate": 0.05}])
def test_confidence_is_kept(cases, settings):
    found, leads, _ = attacked(cases[3], confidence=1.0, **settings)
    right = measure_lengths(found - cases[3].floats) > 0
    assert right.sum() >= 10
    assert float(leads[right].max()) <= -1 + 1e-4


def test_both_methods_improve_on_deepfool(cases):
    for classes in (3, 5):
        case = cases[classes]
        with freeze(case.model) as model:
            start = deepfool(Victim(model, len(case.images)), case.floats, case.goal, DeepFool())
        limit = 0.97 * float(measure_lengths(start - case.floats).mean())
        for settings in ({}, {"method": "published", "max_iterations": 100, "learning_rate": 0.02}):
            found, leads, _ = attacked(case, **settings)
            assert bool((leads < 0).all())
            assert float(measure_lengths(found - case.floats).mean()) < limit


def test_a_fixed_first_constant_and_no_abort(cases):
    settings = {"method": "published", "max_iterations": 30, "binary_search_steps": 3, "learning_rate": 0.05}
    found, leads, victim = attacked(cases[3], initial_const=1.0, abort_early=False, **settings)
    assert bool((leads < 0).all())
    attacked_tiles = measure_lengths(found - cases[3].floats) > 0
    assert set(victim.forwards[attacked_tiles].tolist()) == {3 * 30}
    assert set(victim.backwards[attacked_tiles].tolist()) == {3 * 29}


@pytest.mark.parametrize("setting", [{"binary_search_steps": 9}, {"initial_const": 0.1}, {"abort_early": False}])
def test_a_setting_that_would_do_nothing_is_refused(setting):
    with pytest.raises(ValueError, match="only `method: published` searches"):
        CarliniWagnerL2(**setting)
    CarliniWagnerL2(method="published", **setting)


def test_settings_survive_a_round_trip():
    for settings in (CarliniWagnerL2(), CarliniWagnerL2(method="published", initial_const=0.1)):
        assert CarliniWagnerL2.model_validate(settings.model_dump()) == settings
