import pytest

from raypipe.attacks.art.backend import ArtAttack, art_attack
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.attacks.fgsm import FastGradient, fast_gradient


@pytest.mark.parametrize(("norm", "theirs", "eps"), [("linf", "inf", 0.05), ("l2", 2, 1.0)])
def test_the_step_is_the_toolbox_s(cases, norm, theirs, eps):
    case = cases[5]
    with freeze(case.model) as model:
        victim = Victim(model, len(case.images))
        found = fast_gradient(victim, case.floats, case.goal, FastGradient(norm=norm, eps=eps))
        settings = ArtAttack(backend="art", name="FastGradientMethod", parameters={"norm": theirs, "eps": eps})
        expected = art_attack(Victim(model, len(case.images)), case.floats, case.goal, settings)
    # The sign of a value's gradient may depend on float noise.
    assert ((found - expected).abs() > 1e-5).float().mean() < 0.001
    assert victim.forwards.tolist() == [1] * 16
    assert set(victim.backwards.tolist()) == {0, 1}


def test_a_target_comes_nearer(cases):
    case = cases[5]
    targets = (case.truth + 1) % 5
    with freeze(case.model) as model:
        goal, victim = Goal(targets, targeted=True), Victim(model, len(case.images))
        found = fast_gradient(victim, case.floats, goal, FastGradient(norm="l2", eps=0.2, target="random"))
        before, after = (model(images).softmax(1).gather(1, targets[:, None])[:, 0] for images in (case.floats, found))
    moved = (found != case.floats).flatten(1).any(1)
    assert moved.sum() >= 12
    assert bool((after > before)[moved].all())
