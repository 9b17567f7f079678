"""A new attack is one file and one line in the registry: the test follows CONTRIBUTING.md with a toy attack."""

import importlib
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypipe.attacks import ATTACKS
from raypipe.attacks.base import Attack
from raypipe.base.errors import ConfigError
from raypipe.experiment.load import validate_experiment
from tests.recipes import ROOT, read_example


@pytest.fixture
def attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attack:
    """Write the file that CONTRIBUTING.md shows, and add its attack to the registry."""
    (tmp_path / "contrast.py").write_text(read_example("raypipe/attacks/contrast.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    attack: Attack = importlib.import_module("contrast").ATTACK
    monkeypatch.setitem(ATTACKS, attack.name, attack)
    return attack


def test_an_experiment_can_name_it_and_its_settings_are_checked(attack: Attack) -> None:
    raw: dict[str, Any] = {"name": "toy", "data": {"source": "synthetic"}, "models": ["convnet"]}
    read = validate_experiment({**raw, "attacks": {"contrast": {"eps": "8/255"}}})
    assert read.attacks["contrast"] == attack.settings(eps=8 / 255)
    with pytest.raises(ConfigError, match=r"attacks\.contrast"):
        validate_experiment({**raw, "attacks": {"contrast": {"eps": 8}}})


def test_it_attacks_tiles_within_its_ball(attack: Attack, cases: Any) -> None:
    case = cases[5]
    result = case.attacked(attack.settings(eps=8 / 255), batch_size=3)
    change = result.images.astype(int) - case.images
    assert np.abs(change).max() == 8
    before, after = (np.abs(images.astype(float) - 127.5).mean() for images in (case.images, result.images))
    assert after < before - 4, "most values have moved toward middle gray"


def test_its_row_in_the_documentation_comes_from_its_docstring(attack: Attack) -> None:
    rows = runpy.run_path(str(ROOT / "docs" / "generate.py"))["attack_rows"]()
    purpose = "Contrast: move each channel value toward middle gray by the radius"
    assert f"| `contrast` | {purpose} | within linf | raypipe's own |" in list(rows)
