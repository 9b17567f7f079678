"""The recipes of CONTRIBUTING.md: a new attack, defense and data set take one file and one name in a registry each."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from raypipe.data.reading.png import encode_png
from tests.recipes import ROOT, read_entry, read_example
from tests.terminal import pristine_environment

pytestmark = pytest.mark.cluster


class Recipe(NamedTuple):
    """A file, the registry that gets its constant, and the import that its registry needs."""

    file: str
    registry: str
    imports: str


RECIPES = (
    Recipe("raypipe/attacks/contrast.py", "ATTACKS", "from raypipe.attacks import contrast"),
    Recipe(
        "raypipe/defenses/noise_training.py", "DEFENSES", "from raypipe.defenses.noise_training import NoiseTraining"
    ),
    Recipe("raypipe/data/sources/smears.py", "SOURCES", "from raypipe.data.sources import smears"),
)
EXPERIMENT: dict[str, Any] = {
    "name": "toy",
    "data": {"source": "smears", "path": "smears"},
    "tiles": {"size": 32, "shard_size": 8},
    "models": ["convnet"],
    "train": {"epochs": 1, "batch_size": 8},
    "attacks": {"contrast": {"eps": "16/255"}},
    "defenses": {"noise_training": {"epochs": 1}},
    "evaluation": {"curves": {}, "autoattack": None, "checks": None},
    "resources": {"harden_workers": 0, "attack_batch": 8},
}


def extend_package(folder: Path) -> None:
    """Copy the package into a folder, and perform the recipes there."""
    shutil.copytree(ROOT / "raypipe", folder / "raypipe", ignore=shutil.ignore_patterns("__pycache__"))
    for recipe in RECIPES:
        file = folder / recipe.file
        file.write_text(read_example(recipe.file))
        registry = file.with_name("__init__.py")
        head, opening, entries = registry.read_text().partition(f"\n{recipe.registry}: ")
        before, bracket, after = entries.partition("(\n    ")
        argument, comma, rest = after.partition(",\n")  # the function that names the entries
        added = f"    {read_entry(recipe.registry)},\n"
        registry.write_text(f"{head}\n{recipe.imports}\n{opening}{before}{bracket}{argument}{comma}{added}{rest}")


def draw_tiles(folder: Path) -> None:
    """Write dark tiles of abnormal cells and bright tiles of normal cells, from four patients each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for label, low in (("abnormal", 0), ("normal", 128)):
        for patient in range(4):
            for number in range(3):
                pixels = rng.integers(low, low + 128, (32, 32, 3), dtype=np.uint8)
                (folder / f"{label}-{label[0]}{patient}-{number}.png").write_bytes(encode_png(pixels))


def test_a_toy_attack_defense_and_data_set_run_together_on_a_cluster(tmp_path: Path) -> None:
    extend_package(tmp_path)
    draw_tiles(tmp_path / "smears")
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    done = subprocess.run(
        [sys.executable, "-m", "raypipe", "run", "toy.yaml"],
        cwd=tmp_path,
        env={**pristine_environment(tmp_path), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pq.read_table(tmp_path / "results" / "runs" / "toy" / "records.parquet").to_pylist()
    attacked = {(row["defense"], row["protocol"]) for row in rows if row["attack"] == "contrast"}
    assert attacked == {(None, "white-box"), ("noise_training", "static"), ("noise_training", "adaptive")}
    assert {row["method"] for row in rows if row["attack"]} == {"contrast"}
    assert all(row["labels"] == ["abnormal", "normal"] for row in rows)
