"""An attack on the tiles that no attack has fooled yet, at several radii or once."""

import numpy as np
import pytest

from raypipe.attacks.autoattack import AutoAttack
from raypipe.attacks.deepfool import DeepFool
from raypipe.attacks.engine.cascade import generate_over_radii
from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.norms import replace_ball
from raypipe.attacks.pgd import ProjectedGradient

RADII = {"linf": (4 / 255, 8 / 255, 16 / 255, 32 / 255), "l2": (0.2, 0.5, 1.0, 2.0)}
NOISE = 1 + 1e-6


@pytest.fixture(params=["linf", "l2"])
def norm(request):
    return request.param


def ensemble(norm):
    return AutoAttack(norm=norm, eps=RADII[norm][-1], max_iterations=10, max_queries=40)


def fooled_within(made, norm, eps):
    return made.success & (getattr(made, norm) <= eps * NOISE)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_it_fools_within_each_radius_what_the_attack_alone_fools_for_fewer_passes(cases, classes, norm):
    case, settings = cases[classes], ensemble(norm)
    model = case.prepared(16)
    found = generate_over_radii(model, case.images, case.labels, settings, RADII[norm])
    alone = [generate(model, case.images, case.labels, replace_ball(settings, eps, norm)) for eps in RADII[norm]]
    for eps, made in zip(RADII[norm], alone, strict=True):
        assert not (made.success & ~fooled_within(found, norm, eps)).any()
    assert found.success.any()
    assert found.forwards.sum() < sum(made.forwards.sum() for made in alone)
    right = found.clean_prediction == case.labels
    assert (getattr(found, norm)[right] <= RADII[norm][-1] * NOISE).all()
    assert (found.images[~right] == case.images[~right]).all()


def test_what_another_attack_has_fooled_costs_no_pass(cases, norm):
    case = cases[5]
    model = case.prepared(16)
    known = [generate(model, case.images, case.labels, DeepFool())]
    found = generate_over_radii(model, case.images, case.labels, ensemble(norm), RADII[norm], known)
    size = np.where(known[0].success, getattr(known[0], norm), np.inf)
    free = (size <= RADII[norm][0] * NOISE) | (known[0].clean_prediction != case.labels)
    assert free.any()
    assert not found.forwards[free].any()
    assert not found.backwards[free].any()
    assert found.forwards[~free].all()
    counted = size <= RADII[norm][-1] * NOISE
    assert counted.sum() > (free & counted).sum(), "some are known beyond the smallest radius only"
    assert found.success[counted].all()
    assert (getattr(found, norm)[counted] <= np.maximum(size[counted], RADII[norm][0]) * NOISE).all()


def test_without_radii_it_attacks_only_what_no_other_attack_has_fooled(cases):
    case, settings = cases[5], ProjectedGradient(eps=16 / 255, max_iterations=10)
    model = case.prepared(16)
    first = generate(model, case.images, case.labels, ProjectedGradient(eps=4 / 255, max_iterations=5))
    found = generate_over_radii(model, case.images, case.labels, settings, known=[first])
    alone = generate(model, case.images, case.labels, settings)
    attacked = ~first.success & (first.clean_prediction == case.labels)
    assert attacked.any()
    assert first.success.any()
    np.testing.assert_array_equal(found.forwards > 0, attacked)
    np.testing.assert_array_equal(found.success, first.success | (attacked & alone.success))
    np.testing.assert_array_equal(found.images[~attacked], first.images[~attacked])
    np.testing.assert_array_equal(found.clean_prediction, alone.clean_prediction)


def test_its_successes_are_those_of_the_stored_tiles(cases, norm):
    case = cases[3]
    model = case.prepared(16)
    known = [generate(model, case.images, case.labels, DeepFool())]
    found = generate_over_radii(model, case.images, case.labels, ensemble(norm), RADII[norm], known)
    again = generate(model, found.images, case.labels, DeepFool(max_iterations=1))
    right = found.clean_prediction == case.labels
    np.testing.assert_array_equal(found.success, right & (again.clean_prediction != case.labels))
    np.testing.assert_array_equal(found.adversarial_prediction, again.clean_prediction)
    difference = (found.images.astype(float) - case.images)[right] / 255
    np.testing.assert_allclose(found.linf[right], np.abs(difference).max((1, 2, 3)), atol=1e-9)


def test_an_attack_without_a_ball_has_no_radii(cases):
    case = cases[3]
    with pytest.raises(TypeError, match="deepfool has no ball"):
        generate_over_radii(case.prepared(), case.images, case.labels, DeepFool(), [0.1])
    other = generate(case.prepared(), case.images[:2], case.labels[:2], DeepFool(max_iterations=1))
    with pytest.raises(ValueError, match="expected those of the tiles"):
        generate_over_radii(case.prepared(), case.images, case.labels, ensemble("l2"), [0.1], [other])
