"""What Prometheus gets while a run goes on: scraped from Ray's own exporter, compared with the run's records."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from raypipe.experiment import Experiment

EPOCHS = 10
"""Enough for some tiles to be classified right, and thus attacked."""
pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("clusters")]


def test_metrics_agree_with_the_records(tiny: Callable[..., Experiment]) -> None:
    experiment = tiny(
        train={"epochs": EPOCHS, "batch_size": 8},
        attacks={"deepfool": {"max_iterations": 20}},
        defenses={"adversarial_training": {"epochs": 2}},
    )
    command = [sys.executable, "-m", "tests.stages.scraped", experiment.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    found, tiles = told["metrics"], told["adversarials"]

    def total(name: str, **labels: str) -> float:
        return sum(
            value
            for sample, tags, value in found
            if sample == f"ray_raypipe_{name}" and all(tags.get(tag) == said for tag, said in labels.items())
        )

    of_attacks = {"run": "tiny", "stage": "attack", "model": "convnet", "attack": "deepfool"}
    assert total("tiles_total", **of_attacks) == tiles["tiles"] > 0
    assert total("tiles_attacked_total", **of_attacks) == tiles["attacked"]
    assert (
        total("tiles_fooled_total", **of_attacks) == total("distortion_l2_count", **of_attacks) == tiles["fooled"] > 0
    )
    assert total("forwards_total", **of_attacks) == tiles["forwards"]
    assert total("backwards_total", **of_attacks) == tiles["backwards"]
    assert total("shard_seconds_count", stage="evaluate") > 0
    assert total("epochs_total", stage="train") == EPOCHS
    assert total("epochs_total", stage="harden") == 2
    assert 0 < total("training_accuracy", stage="train") <= 1
    assert total("training_loss", stage="train") > 0
    assert total("cells", state="to do") == total("cells", state="failed") == 0
    assert total("cells", state="done", run="tiny") == told["cells"]
    if told["panels"] is not None:
        assert [title for title, series in told["panels"].items() if not all(series)] == []
    tags = {tag for sample, labels, _ in found if sample.startswith("ray_raypipe_") for tag in labels}
    assert not tags & {"key", "sample_id", "cell"}, "labels stay few"
