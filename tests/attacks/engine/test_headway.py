"""Headway of an attack within its tiles, for those who wait."""

import numpy as np
import pytest
import torch
from torch import nn

from raypipe.attacks.autoattack import AutoAttack
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.deepfool import DeepFool
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


def test_a_round_counts_by_the_rounds_that_are_left() -> None:
    said: list[float] = []
    with observe_headway(said.append):
        with count_one_round(decided=0, rounds_left=2):
            report(10)
        with count_one_round(decided=4, rounds_left=1):
            report(6)
            with count_one_round(decided=2, rounds_left=4):
                report(4)
    assert said == [5, 10, 7]
