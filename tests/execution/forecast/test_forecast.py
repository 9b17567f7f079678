"""The forecast of an experiment: work that is known in advance is counted, and other work is tried."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from raypipe.base.errors import StageError
from raypipe.cli.app import app
from raypipe.execution.forecast.forecast import forecast
from raypipe.execution.forecast.records import Forecast
from raypipe.experiment.load import validate_experiment
from raypipe.plan.listing import Prepared, prepare
from raypipe.progress.pace import read_forecast
from raypipe.storage.store import Store

pytestmark = pytest.mark.xdist_group("forecast")  # in one process, so that the trials run once
SETTINGS: dict[str, Any] = {
    "name": "small",
    "data": {"source": "synthetic", "sources_per_class": 4, "siblings": 2, "size": 32},
    "tiles": {"size": 32, "shard_size": 8},
    "models": ["convnet"],
    "train": {"epochs": 2, "batch_size": 8},
    "attacks": {"fgsm": {"eps": "8/255"}},
    "defenses": {"adversarial_training": {"epochs": 3, "mix": 0.5}},
    "evaluation": {
        "tiles": 5,
        "autoattack": {"max_iterations": 2, "max_queries": 5},
        "bounded": {"name": "pgd", "max_iterations": 1},
        "checks": {"planted_tiles": 15},
    },
    "resources": {"attack_batch": 8},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(validate_experiment({**SETTINGS, "storage": str(tmp_path_factory.mktemp("store"))}))


@pytest.fixture(scope="module")
def found(prepared: Prepared) -> Forecast:
    return forecast(prepared, workers=2, attacked=2)


def test_every_cell_to_do_has_its_passes_counted(prepared: Prepared, found: Forecast) -> None:
    assert [each.cell.key for each in found.cells] == [cell.key for cell in prepared.plan.cells]
    sides = [item.split for item in prepared.listings[0].items]
    train, test = sides.count("train"), sides.count("test")
    of = {each.cell.name: each for each in found.cells}
    (trained,) = (each for each in found.cells if each.cell.stage == "train")
    assert (trained.forwards, trained.backwards) == (2 * train, 2 * train)
    (hardened,) = (each for each in found.cells if each.cell.stage == "harden")
    assert hardened.forwards == 3 * 2 * train  # clean and perturbed tiles
    for each in found.cells:
        if each.cell.stage == "evaluate":
            clean = each.cell.inputs["tiles"].stage == "ingest"
            assert each.forwards == (test if clean else 5)
    assert all(each.seconds > 0 and each.size > 0 for each in of.values())


def test_attacks_are_tried_for_real(found: Forecast) -> None:
    for each in found.cells:
        if each.cell.stage == "attack":
            assert each.forwards > 0
            assert (each.backwards > 0) == (each.cell.spec.attack.knowledge == "white-box")


def test_two_workers_need_less_of_the_clock_for_the_same_work(prepared: Prepared, found: Forecast) -> None:
    resources = prepared.experiment.resources
    one = {stage.stage: stage for stage in Forecast(found.cells, 1, found.start).stages(resources)}
    for stage in found.stages(resources):
        assert stage.seconds == one[stage.stage].seconds
        if stage.stage in ("attack", "evaluate"):
            assert stage.wall < one[stage.stage].wall


def test_what_is_done_costs_nothing_more(tmp_path: Path) -> None:
    again = prepare(validate_experiment({**SETTINGS, "storage": str(tmp_path)}))
    for cell in again.plan.cells:
        cell.publish(again.store)
    assert forecast(again, workers=1).cells == ()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_is_not_estimated_on_a_cpu(tmp_path: Path) -> None:
    settings = {**SETTINGS, "storage": str(tmp_path), "resources": {"gpu": True}}
    with pytest.raises(StageError, match="estimate on a machine like those"):
        forecast(prepare(validate_experiment(settings)))


def test_the_command_says_what_each_stage_takes_and_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "raypipe.execution.forecast.forecast.measure_worker_start", lambda: 5.0
    )  # `found` has waited for a real start
    file = tmp_path / "small.yaml"
    evaluation = {**SETTINGS["evaluation"], "checks": None}
    file.write_text(yaml.safe_dump({**SETTINGS, "storage": str(tmp_path / "store"), "evaluation": evaluation}))
    options = ["--estimate", "--trial-tiles", "1", "--price", "1", "--workers", "4", "--all"]
    result = CliRunner().invoke(app, ["plan", str(file), *options])
    assert result.exit_code == 0, result.output
    assert "on 4 workers of the kind tried here" in result.output
    words = ("CPU hours", "US dollars", "harden", "trying convnet: fgsm", "Ray's start, results, report")
    for word in words:
        assert word in result.output
    cells, stages = result.output.split("missing cells, on 4 workers")
    assert cells.count("US dollars") == stages.count("US dollars") == 1
    known = read_forecast(Store.open(str(tmp_path / "store")), "small")
    assert known, "the run estimates its time left from it"
    assert all(seconds >= 0 for seconds in known.values())


def test_the_start_of_ray_and_of_workers_is_in_the_clock(prepared: Prepared, found: Forecast) -> None:
    """Check the start times, which are most of the elapsed time of an experiment that takes seconds."""
    assert found.start > 0.1
    resources = prepared.experiment.resources
    slow = {stage.stage: stage for stage in Forecast(found.cells, 2, found.start + 10).stages(resources)}
    alone = {stage.stage: stage for stage in found.stages(resources.model_copy(update={"harden_workers": 0}))}
    for stage in found.stages(resources):
        later = slow[stage.stage].wall - stage.wall
        assert later == pytest.approx({"ingest": 10, "train": 25, "harden": 35}.get(stage.stage, 0))
        spared = 2.5 * found.start if stage.stage == "harden" else 0
        assert alone[stage.stage].wall == pytest.approx(stage.wall - spared)
    assert found.besides > 0
    assert Forecast((), 2, found.start).besides == 0
