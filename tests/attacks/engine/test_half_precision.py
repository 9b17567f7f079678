"""Half precision, emulated by autocast on a CPU: it may mislead an attack, but not the figures."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from raypipe.attacks import AttackSettings
from raypipe.attacks.engine.generate import Adversarials, generate
from raypipe.attacks.engine.prepare import PreparedModel, prepare
from raypipe.attacks.fgsm import FastGradient
from tests.attacks.conftest import Case, tiles, trained

SETTINGS = {
    "pgd": {"eps": 0.04, "max_iterations": 10, "early_stop": True},
    "apgd": {"eps": 0.04, "max_iterations": 10, "early_stop": True},
    "autoattack": {"eps": 0.04, "max_iterations": 5, "max_queries": 10, "targets": 2, "early_stop": True},
    "deepfool": {"max_iterations": 10},
}


@pytest.fixture(scope="module")
def case() -> Case:
    """Return a model whose logits are so far from 0 that half precision rounds them to steps of 1/8."""
    model = copy.deepcopy(trained(5)).eval()
    head = model.head[2]
    assert isinstance(head, nn.Linear)
    head.bias.data += 200
    return Case(model, *tiles(5, 60, seed=3))


def prepared(case: Case, half: torch.dtype | None) -> PreparedModel:
    return prepare(case.model, (3, 16, 16), device="cpu", batch_size=30, half=half)


def attacked(case: Case, model: PreparedModel, name: str) -> Adversarials:
    settings = TypeAdapter(AttackSettings).validate_python({"name": name, **SETTINGS[name]})
    return generate(model, case.images, case.labels, settings)


@pytest.mark.parametrize("name", SETTINGS)
def test_half_precision_fools_the_tiles_that_single_precision_fools(case: Case, name: str) -> None:
    single, half = (attacked(case, prepared(case, precision), name) for precision in (None, torch.float16))
    assert single.success.sum() >= 10
    np.testing.assert_array_equal(half.success, single.success)


@pytest.mark.parametrize("name", ["pgd", "apgd"])
def test_without_single_precision_tiles_are_lost(case: Case, name: str) -> None:
    """Show the fault by the emulation: a tile that is fooled in half precision only leaves the attack."""
    model = prepared(case, torch.float16)
    single, careless = (
        attacked(case, prepared(case, None), name),
        attacked(case, replace(model, exact=model.fast), name),
    )
    assert (single.success & ~careless.success).any()


def test_an_attack_that_brings_no_tile_near_another_class_ends_without_a_success() -> None:
    """Attack tiles far from every boundary within a tiny radius, so that no result is doubtful in half precision."""
    model, (images, labels) = trained(5).eval(), tiles(5, 60, seed=3)
    with torch.no_grad():
        first, second = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).topk(2, dim=1).values.T
    far = (first - second > 1).numpy()
    assert far.sum() >= 2
    case = Case(model, images[far], labels[far])
    result = generate(prepared(case, torch.float16), case.images, case.labels, FastGradient(eps=1e-4))
    assert not result.success.any()
    assert not result.float_success.any()
