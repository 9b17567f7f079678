"""Headway of an attack within its tiles, for those who wait."""

import numpy as np
import pytest
import torch
from torch import nn

from raypipe.attacks.autoattack import AutoAttack
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.deepfool import DeepFool
from raypipe.attacks.engine import active
from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.headway import count_one_round, observe_headway, report
from raypipe.attacks.engine.prepare import prepare
from raypipe.attacks.pgd import ProjectedGradient

TILES = 24


@pytest.mark.parametrize(
    "attack",
    [
        DeepFool(),
        ProjectedGradient(eps=4 / 255, max_iterations=3, restarts=2),
        AutoAttack(eps=1 / 255, max_iterations=2, max_queries=5),
    ],
    ids=lambda attack: attack.name,
)
def test_an_attack_reports_its_tiles_as_it_decides_them(attack: NamedAttack) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    images = np.random.default_rng(0).integers(0, 256, (TILES, 8, 8, 3), dtype=np.uint8)
    labels = model(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    said: list[float] = []
    with observe_headway(said.append):
        generate(prepare(model, (3, 8, 8), device=torch.device("cpu"), batch_size=8), images, labels, attack)
    assert max(said) == pytest.approx(TILES)
    assert any(0 < tiles < TILES for tiles in said), "before the end"
    with observe_headway(None):
        report(3)
    assert said[-1] != 3


def test_the_ensemble_says_its_headway_all_the_time_and_never_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active, "MOMENT", -1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4, bias=False))
    nn.init.eye_(model[1].weight)
    images = np.zeros((TILES, 8, 8, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = 255  # no attack succeeds
    attack = AutoAttack(eps=1 / 255, max_iterations=5, max_queries=50)
    said: list[float] = []
    with observe_headway(said.append):
        made = generate(
            prepare(model, (3, 8, 8), device=torch.device("cpu"), batch_size=8), images, np.zeros(TILES, int), attack
        )
    assert not made.success.any()
    assert said == sorted(said)
    steps = np.diff([0, *said])
    assert steps.max() < TILES / 10
    assert said[-1] == pytest.approx(TILES)


def test_a_round_counts_by_the_work_behind_it() -> None:
    said: list[float] = []
    with observe_headway(said.append):
        with count_one_round(decided=0, entering=10, after=0.5):
            report(10)
        with count_one_round(decided=4, entering=6, before=0.5):
            report(0)
            report(6)
            with count_one_round(decided=2, entering=4, after=0.25):
                report(4)
    assert said == [5, 7, 10, 8.5]
