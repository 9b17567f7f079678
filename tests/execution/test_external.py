"""External test sets, from the settings to the tables."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from torch import nn

import raypipe
from raypipe.base.errors import ConfigError
from raypipe.execution.completion import complete_overlaps, list_stage_states
from raypipe.execution.local_executor import LocalExecutor
from raypipe.execution.model_cache import ModelCache
from raypipe.experiment.load import validate_experiment
from raypipe.plan.cells import find_unfinished
from raypipe.plan.description import describe_run
from raypipe.plan.listing import Prepared, check_experiment, prepare
from raypipe.progress.run import run_progress
from raypipe.report.external import list_external_reservations, tabulate_external, tabulate_external_classes
from raypipe.report.results import Results

SETTINGS: dict[str, Any] = {"autoattack": None, "checks": None, "curves": {}}
NAMES = ("red", "green", "blue")


class Brightest(nn.Module):
    """A network whose logits are the mean values of the channels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 20 * images.mean((2, 3))


def paint(channel: int, lead: int, size: int) -> NDArray[np.uint8]:
    image = np.full((size, size, 3), 100, np.uint8)
    image[..., channel] += np.uint8(lead)
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of 32 pixels: 6 rosy tiles, of which 4 are red, and 4 grassy ones, of which 1 is blue."""
    root = tmp_path_factory.mktemp("elsewhere")
    for label, channels in {"rosy": (0, 0, 0, 0, 1, 2), "grassy": (1, 1, 1, 2), "stone": (0,)}.items():
        (root / label).mkdir()
        for number, channel in enumerate(channels):
            Image.fromarray(paint(channel, 20, 32)).save(root / label / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def external(folder: Path) -> dict[str, Any]:
    return {
        "elsewhere": {"data": {"source": "folder", "path": str(folder)}, "labels": {"rosy": "red", "grassy": "green"}}
    }


@pytest.fixture(scope="module")
def result(external: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return the evaluation of a network on own tiles of 16 pixels, which it classifies correctly but for 1 red one."""
    own = [(0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (2, 2), (2, 2)]
    images = np.stack([paint(channel, 20, 16) for _, channel in own])
    labels = np.array([label for label, _ in own])
    to = str(tmp_path_factory.mktemp("evaluated"))
    return raypipe.evaluate(Brightest(), images, labels, ["fgsm"], to=to, classes=NAMES, external=external, **SETTINGS)


def test_accuracies_are_those_counted_by_hand(result: Results) -> None:
    whole, red, green = result.external.to_pylist()
    assert [row["label"] for row in (whole, red, green)] == [None, "red", "green"]
    assert (whole["tiles"], whole["own_tiles"]) == (10, 6)  # own tiles of the class blue are not compared
    assert whole["accuracy"] == pytest.approx(7 / 10)
    assert whole["own_accuracy"] == pytest.approx(5 / 6)
    assert whole["drop"] == pytest.approx(5 / 6 - 7 / 10)
    assert whole["balanced_accuracy"] == pytest.approx((4 / 6 + 3 / 4) / 2)
    assert whole["own_balanced_accuracy"] == pytest.approx((3 / 4 + 1) / 2)
    assert whole["balanced_drop"] == pytest.approx(7 / 8 - (4 / 6 + 3 / 4) / 2)
    assert whole["chance"] == 1 / 2
    assert (red["accuracy"], green["accuracy"]) == (pytest.approx(4 / 6), pytest.approx(3 / 4))
    for row in (whole, red, green):
        assert row["drop_low"] < row["drop"] < row["drop_high"]


def test_answers_outside_the_mapped_classes_are_counted(result: Results) -> None:
    whole, red, green = result.external.to_pylist()
    assert (whole["outside"], red["outside"], green["outside"], whole["own_outside"]) == (2, 1, 1, 0)


def test_tiles_that_are_not_mapped_are_left_out_and_reported(result: Results) -> None:
    assert result.external.to_pylist()[0]["left_out"] == ["1 (class stone is not mapped)"]
    texts = [note.text for note in list_external_reservations(result.book)]
    assert "elsewhere: 10 tiles of 10 groups; left out: 1 (class stone is not mapped)." in texts
    assert any("training tiles are unknown" in text for text in texts)


@pytest.mark.parametrize(("high", "said"), [(0.4, "is below chance"), (0.6, "may be no better than chance")])
def test_an_accuracy_below_chance_is_called_so(result: Results, high: float, said: str) -> None:
    whole, *_ = result.book.external
    book = replace(result.book, external=[{**whole, "balanced_accuracy_low": 0.1, "balanced_accuracy_high": high}])
    assert any(f"{said} (50.0 %)" in note.text for note in list_external_reservations(book))


def test_the_tables_show_every_set_model_and_class(result: Results) -> None:
    table, classes = tabulate_external(result.book), tabulate_external_classes(result.book)
    assert table is not None
    assert classes is not None
    ((cells, _),) = table.lines()
    assert [cells[column].text for column in (2, 3, 4, 8)] == ["83.3", "70.0", "13.3", "2 of 10"]
    assert classes.rows == 2


def test_an_evaluation_without_external_sets_has_no_table(tmp_path: Path) -> None:
    images, labels = np.stack([paint(0, 20, 16), paint(1, 20, 16)]), np.array([0, 1])
    result = raypipe.evaluate(Brightest(), images, labels, ["fgsm"], to=str(tmp_path), classes=NAMES, **SETTINGS)
    assert result.external.num_rows == 0
    assert tabulate_external(result.book) is None


def experiment(storage: Path, **labels: str) -> dict[str, Any]:
    """Return an experiment on lung tissue whose external set is the same tissue."""
    tissue = {"source": "synthetic", "sources_per_class": 4, "siblings": 2, "size": 96}
    return {
        "name": "lungs",
        "seed": 0,
        "storage": str(storage),
        "data": {**tissue, "classes": ["lung_aca", "lung_n"]},
        "tiles": {"size": 32},
        "models": ["convnet"],
        "attacks": ["fgsm"],
        "evaluation": {
            "checks": None,
            "curves": {},
            "external": {"again": {"data": tissue, "labels": labels or {"lung_aca": "lung_aca", "lung_n": "lung_n"}}},
        },
    }


def test_external_sets_add_cells_and_change_no_other(tmp_path: Path) -> None:
    raw = experiment(tmp_path)
    with_set = prepare(validate_experiment(raw)).plan
    without = prepare(validate_experiment({**raw, "evaluation": {"checks": None, "curves": {}}})).plan
    keys = {cell.key for cell in without.cells}
    assert keys < {cell.key for cell in with_set.cells}
    assert [(cell.stage, cell.name) for cell in with_set.cells if cell.key not in keys] == [
        ("ingest", "tiles of again"),
        ("overlap", "siblings of tiles of again in tiles"),
        ("evaluate", "convnet on tiles of again"),
    ]


def overlap(prepared: Prepared) -> int:
    """Complete the search for siblings, and return the number of files that were read."""
    executor = LocalExecutor(ModelCache(prepared.store, torch.device("cpu")))
    listings = {cell.key: listing for cell, listing in prepared.ingests}
    states = tuple(list_stage_states(prepared.plan, find_unfinished(prepared.plan.cells, prepared.store)))
    with run_progress(Console(file=io.StringIO()), prepared.store, "lungs", states) as progress:
        complete_overlaps(prepared.plan, listings, executor, progress)
        return sum(stage.whole.units for stage in progress.state.stages if stage.name == "overlap")


def test_siblings_of_training_tiles_in_an_external_set_are_found_once(tmp_path: Path) -> None:
    prepared = prepare(validate_experiment(experiment(tmp_path)))
    assert overlap(prepared) > 0
    assert overlap(prepared) == 0, "a finished search is not repeated"
    (cell,) = prepared.plan.stage("overlap")
    assert not find_unfinished([cell], prepared.store)
    facts = cell.manifest(prepared.store) or {}
    assert facts["tiles"] == 16
    assert facts["siblings"] >= 6, "most of the 16 tiles are training tiles or siblings of them"
    for ingest in prepared.plan.stage("ingest"):
        ingest.publish(prepared.store, split=ingest.spec.split, leakage=0.0, synthetic=True)
    run = describe_run("lungs", prepared.plan, prepared.listings[0].source, "synthetic", prepared.store)
    assert [record.overlap for record in run.external] == [cell.key]
    assert run.stamps.keys() == {"group"}, "external tiles have no stamp of their own"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            {"lung_n": "benign"},
            "labels: 'benign': the experiment's data set has no such class; it has lung_aca, lung_n",
        ),
        ({"polyp": "lung_n"}, "labels: 'polyp': this data set has no such class; it has colon_aca, colon_n"),
    ],
)
def test_a_wrong_mapping_is_found_before_the_run(tmp_path: Path, labels: dict[str, str], message: str) -> None:
    file = tmp_path / "lungs.yaml"
    file.write_text(yaml.safe_dump(experiment(tmp_path, **labels)))
    with pytest.raises(ConfigError, match="1 error") as caught:
        check_experiment(file)
    assert f"evaluation.external.again: {message}" in str(caught.value)


def test_an_empty_class_and_a_missing_folder_are_found_before_the_run(tmp_path: Path, folder: Path) -> None:
    (folder / "empty").mkdir(exist_ok=True)
    raw = experiment(tmp_path)
    raw["evaluation"]["external"] = {
        "gone": {"data": {"source": "folder", "path": str(tmp_path / "nowhere")}, "labels": {"a": "lung_n"}},
        "none": {"data": {"source": "ebhi_seg", "path": str(folder)}, "labels": {"Normal": "lung_n"}},
    }
    file = tmp_path / "lungs.yaml"
    file.write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError, match="2 errors") as caught:
        check_experiment(file)
    assert "evaluation.external.gone: " in str(caught.value)
    assert "evaluation.external.none: " in str(caught.value)
