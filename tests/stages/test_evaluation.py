"""Evaluation on a real cluster: it exposes masked gradients, and its figures can be recomputed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raypipe.cli.app import app
from raypipe.evaluation.results.result import RunResult
from raypipe.experiment.schema import Experiment
from raypipe.storage.schemas import DIAGNOSTICS
from raypipe.storage.store import Store
from tests.evaluation.laws import require_worst_cases
from tests.stages.conftest import TINY, run

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("two_nodes")]
Build = Callable[..., Experiment]
ONE_WORKER: dict[str, Any] = {**TINY["resources"], "train_workers": 1}
JUDGED: dict[str, Any] = {
    "data": {"source": "synthetic", "sources_per_class": 8, "siblings": 3, "size": 32},
    "models": {"convnet": {}, "source": {"name": "convnet", "resize": 16}},
    "train": {"epochs": 12, "batch_size": 16},
    "attacks": {"deepfool": None},
    "defenses": {"bit_depth_reduction": {"bits": 3, "gradient": "zero"}},
    "evaluation": {
        "tiles": 18,
        "bounded": {"name": "pgd", "max_iterations": 8},
        "curves": {"linf": ["8/255"]},
        "autoattack": {"max_iterations": 8, "max_queries": 50},
        "checks": {"eps": "8/255", "max_queries": 50, "planted_tiles": 15},
    },
    "resources": ONE_WORKER,
}


def verdicts(result: RunResult, subject: str) -> dict[str, str]:
    return {row["check"]: row["verdict"] for row in result.checks.to_pylist() if row["subject"] == subject}


def accuracy(result: RunResult, subject: str, protocol: str, attack: str | None = None) -> float:
    (row,) = (
        row
        for row in result.records.to_pylist()
        if (row["subject"], row["protocol"], row["attack"]) == (subject, protocol, attack)
        if row["eps"] is None or protocol != "worst case"
    )
    return float(row["accuracy"])


def test_a_masked_model_is_caught_and_an_undefended_one_is_cleared(tiny: Build) -> None:
    experiment = tiny(**JUDGED)
    result, text = run(experiment)
    clear, masked = "convnet", "convnet/bit_depth_reduction"

    require_worst_cases(result.records.to_pylist())
    unsound = [row for row in result.checks.to_pylist() if row["subject"] == clear and row["verdict"] == "fail"]
    assert unsound == [], [(row["check"], row["figure"]) for row in unsound]
    failed = {check for check, verdict in verdicts(result, masked).items() if verdict == "fail"}
    assert {"no zero gradients", "planted adversarial examples are found"} <= failed
    assert f"{masked}: Robustness not claimed" in text.replace("\n", " ")
    assert "no attack failure detected; robust accuracy is an upper bound" in text.replace("\n", " ")
    assert text.index("not claimed") < text.index("Table 1"), "the verdict stands above every table"

    # The attacks on the masked model itself fail, and the worst case shows it.
    assert accuracy(result, masked, "adaptive", "deepfool") > 0
    assert accuracy(result, masked, "worst case") <= accuracy(result, masked, "static", "deepfool")
    assert accuracy(result, clear, "white-box", "deepfool") == 0

    store = Store.open(experiment.storage)
    for key in store.list_directories("artifacts/diagnostics"):
        (shard, *_) = store.shards("diagnostics", key)
        assert store.read_table(shard).schema.equals(DIAGNOSTICS)

    # All figures are computed again from the stored predictions alone.
    before = (Path(result.location) / "records.parquet").read_bytes()
    arguments = ["results", "tiny", "--storage", experiment.storage]
    assert CliRunner().invoke(app, [*arguments, "--recompute"]).exit_code == 0
    assert (Path(result.location) / "records.parquet").read_bytes() == before
    said = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert said["records"] == result.records.to_pylist()
    assert {row["verdict"] for row in said["checks"]} >= {"pass", "fail"}


def test_seeds_and_splits_are_axes_of_the_grid(tiny: Build) -> None:
    experiment = tiny(
        attacks={"fgsm": {"eps": "8/255"}},
        defenses=[],
        seeds=[0, 1],
        resources=ONE_WORKER,
        tiles={"size": 32, "shard_size": 8, "split": ["group", "paper"]},
    )
    result, text = run(experiment)
    subjects = {(row["split"], row["seed"]) for row in result.records.to_pylist()}
    assert subjects == {(split, seed) for split in ("group", "paper") for seed in (0, 1)}
    assert "Over seeds" in text
    leak = [row for row in result.differences.to_pylist() if not row["paired"]]
    assert {(row["subject"], row["against"]) for row in leak} == {
        (f"convnet (paper, seed {seed})", f"convnet (group, seed {seed})") for seed in (0, 1)
    }
    for row in result.records.to_pylist():
        assert any(stamp.startswith("LEAKY") for stamp in row["stamps"]) == (row["split"] == "paper")
