import time
from dataclasses import fields

import numpy as np
import pytest
from pydantic import TypeAdapter

from raypipe.attacks import AttackSettings
from raypipe.attacks.deepfool import DeepFool
from raypipe.attacks.engine.generate import Adversarials, generate, predict_tiles
from raypipe.attacks.saliency_map import SaliencyMap
from raypipe.storage.schemas import ADVERSARIALS

BUDGETS = {
    "autoattack": {"max_iterations": 5, "max_queries": 20},
    "square": {"max_queries": 30},
    "rays": {"max_queries": 30},
}


def test_the_columns_are_the_tables():
    stored = set(ADVERSARIALS.names) - {"sample_id", "group_id", "image", "label"}
    assert {field.name for field in fields(Adversarials)} == stored | {"images"}


def test_types_are_the_tables(cases):
    case = cases[3]
    result = case.attacked(DeepFool(), batch_size=4)
    for field in fields(Adversarials):
        values = getattr(result, field.name)
        assert len(values) == len(case.images), field.name
        if field.name != "images":
            assert values.dtype == ADVERSARIALS.field(field.name).type.to_pandas_dtype(), field.name
    assert result.images.dtype == np.uint8
    assert result.images.shape == case.images.shape


def test_the_tiles_are_not_written_to(cases):
    case = cases[3]
    before = case.images.copy()
    case.images.flags.writeable = False
    try:
        case.attacked(SaliencyMap(), batch_size=4)
    finally:
        case.images.flags.writeable = True
    np.testing.assert_array_equal(case.images, before)


def test_no_tiles(cases):
    nothing = np.zeros((0, 16, 16, 3), dtype=np.uint8)
    result = generate(cases[3].prepared(), nothing, np.zeros(0, dtype=np.int64), DeepFool())
    assert result.images.shape == (0, 16, 16, 3)
    assert result.success.shape == (0,)


@pytest.mark.parametrize("name", ["apgd", "autoattack", "deepfool", "pgd", "square", "rays"])
def test_known_predictions_of_the_tiles_save_their_passes_and_change_nothing_else(cases, name):
    case = cases[3]
    model = case.prepared(batch_size=16)
    settings = TypeAdapter(AttackSettings).validate_python({"name": name, **BUDGETS.get(name, {})})
    alone = generate(model, case.images, case.truth.numpy(), settings)
    known = generate(model, case.images, case.truth.numpy(), settings, clean_logits=predict_tiles(model, case.images))
    for field in {field.name for field in fields(Adversarials)} - {"forwards", "seconds"}:
        np.testing.assert_array_equal(getattr(known, field), getattr(alone, field), err_msg=field)
    np.testing.assert_array_equal(known.forwards, alone.forwards - 1)


def test_float_figures_beside_the_stored_ones(cases):
    case = cases[3]
    result = case.attacked(DeepFool(), batch_size=16)
    assert result.float_success.sum() >= 10
    np.testing.assert_allclose(result.l2, result.float_l2, rtol=0.01, atol=0.02)
    assert (result.l2 != result.float_l2)[result.success].all()


def test_seconds_add_up_to_the_time_it_took(cases):
    case = cases[3]
    begun = time.perf_counter()
    result = case.attacked(DeepFool(), batch_size=16)
    took = time.perf_counter() - begun
    assert 0.3 * took < result.seconds.sum() <= took


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros(2, np.int64), "float32.*expected uint8"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64), "expected uint8 .n, h, w, channels."),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, np.int64), r"labels \(3,\)"),
    ],
)
def test_misfits_are_refused(cases, images, labels, message):
    with pytest.raises(ValueError, match=message):
        generate(cases[3].prepared(), images, labels, DeepFool())


BOUNDED = {
    "fgsm": {"name": "fgsm", "eps": 2.5 / 255},
    "pgd": {"name": "pgd", "eps": 8 / 255, "max_iterations": 5},
    "pgd, l2": {"name": "pgd", "norm": "l2", "eps": 0.3, "max_iterations": 5},
    "apgd": {"name": "apgd", "eps": 4 / 255, "max_iterations": 5},
    "art": {"backend": "art", "name": "BasicIterativeMethod", "parameters": {"eps": 0.02, "max_iter": 3}},
    "art, l2": {
        "backend": "art",
        "name": "ProjectedGradientDescent",
        "parameters": {"norm": 2, "eps": 0.3, "eps_step": 0.1, "max_iter": 3},
    },
}


@pytest.mark.parametrize("name", BOUNDED)
def test_what_is_stored_stays_in_the_ball(cases, name):
    settings = TypeAdapter(AttackSettings).validate_python(BOUNDED[name])
    result = cases[3].attacked(settings)
    distances = {"linf": result.linf, "l2": result.l2}[settings.ball.norm]
    assert 0.3 * settings.ball.eps < distances.max() <= settings.ball.eps * (1 + 1e-5)
    assert result.success.sum() <= result.float_success.sum() + 1


@pytest.mark.parametrize(
    ("name", "limits"),
    [("fgsm", {}), ("pgd", {}), ("apgd", {"max_iterations": 20}), ("square", {"max_queries": 300})],
)
def test_a_radius_between_two_steps_is_the_lower_one(cases, name, limits):
    """Use an eps between two steps: changes beyond the last whole step of 1/255 cannot be stored and lose success."""
    between, whole = (
        cases[3].attacked(TypeAdapter(AttackSettings).validate_python({"name": name, "eps": f"{steps}/255", **limits}))
        for steps in (10.7, 10)
    )
    assert whole.success.any()
    assert np.array_equal(between.images, whole.images)
    assert np.array_equal(between.success, whole.success)
