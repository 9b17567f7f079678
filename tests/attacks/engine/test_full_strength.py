"""The full budget for tiles that other models see: it gives as many successes, and larger losses."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from raypipe.attacks import AttackSettings, get_attack
from raypipe.attacks.engine.losses import cross_entropy, margin
from raypipe.attacks.engine.norms import IterativeAttack
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.evaluation.predict import predict
from tests.attacks.conftest import Case, tiles, trained

SETTINGS = {
    "pgd": {"eps": 0.1, "max_iterations": 10},
    "pgd with restarts": {"eps": 0.1, "max_iterations": 5, "restarts": 2, "random_start": True},
    "apgd": {"eps": 0.1, "max_iterations": 10},
    "apgd with restarts": {"eps": 0.1, "max_iterations": 5, "restarts": 2},
    "square": {"eps": 0.2, "max_queries": 60},
    "autoattack": {"eps": 0.1, "max_iterations": 5, "max_queries": 10, "targets": 2},
}
LOSSES = {"square": margin, "autoattack": margin}


def both(name: str) -> list[IterativeAttack]:
    settings = TypeAdapter(AttackSettings).validate_python({"name": name.split(maxsplit=1)[0], **SETTINGS[name]})
    return [settings.with_early_stop(True), settings.with_early_stop(False)]


@pytest.fixture(scope="module")
def source() -> Case:
    images, labels = tiles(5, 60, seed=3)
    return Case(trained(5), images, labels)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_whole_budget_fools_the_same_tiles_with_losses_no_smaller(source: Case, name: str) -> None:
    found = []
    for settings in both(name):
        with freeze(source.model) as model:
            victim = Victim(model, len(source.images))
            floats = get_attack(settings).generate(victim, source.floats, source.goal, settings)
            logits = model(floats).detach()
        loss = LOSSES.get(name, cross_entropy)(logits, source.goal, victim.rows())
        found.append((source.goal.reached(logits, victim.rows()), loss, victim.forwards))
    (stopped, early, few), (whole, full, many) = found
    assert stopped.float().mean() > 0.2
    assert whole.tolist() == stopped.tolist()
    if name == "autoattack":  # its members maximize losses other than the margin
        assert full.mean() > early.mean()
    else:
        assert (full >= early - 1e-4).all()
        assert (full > early + 0.1).any()
    assert (many >= few).all()


@pytest.mark.parametrize("name", ["pgd", "apgd", "square"])
def test_another_model_is_fooled_no_less_by_tiles_of_the_whole_budget(source: Case, name: str) -> None:
    target = trained(5, seed=40)
    standing = []
    for settings in both(name):
        made = source.attacked(settings)
        standing.append((predict(target, made.images, 30, torch.device("cpu")).argmax(1) == source.labels).mean())
        assert np.isin(made.linf[made.success].max(), np.arange(1, 256) / 255)
    early, full = standing
    assert full <= early
    assert name == "square" or full < early


def test_a_minimal_attack_has_no_choice() -> None:
    settings = TypeAdapter(AttackSettings).validate_python({"name": "deepfool"})
    assert settings.with_early_stop(True) is settings.with_early_stop(False) is settings
