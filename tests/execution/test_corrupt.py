"""Natural corruptions of the tiles that a model is tested on, from the settings to the tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import raypipe
from raypipe.base.errors import ConfigError
from raypipe.corruptions import CORRUPTIONS
from raypipe.evaluation.predict import predict
from raypipe.execution.corrupt import corrupt_pixels
from raypipe.plan.cells import CorruptSpec
from raypipe.report.corruptions import corruptions_heat, corruptions_table
from raypipe.report.results import Results

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {"autoattack": None, "checks": None, "curves": {}}
BLUE = 2


class Bluest(nn.Module):
    """A network that answers 1 for tiles with more blue than red, as a blank gray tile has not."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        lead = 20 * (images[:, BLUE] - images[:, 0]).mean((1, 2))
        return torch.stack([torch.zeros_like(lead), lead], 1)


@pytest.fixture(scope="module")
def tiles() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return 24 tiles that are a little more red or blue than gray, and their classes."""
    random = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = random.integers(90, 160, (24, 16, 16, 3))
    images[..., BLUE] += (random.integers(2, 12, 24) * (2 * labels - 1))[:, None, None]
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def result(tiles: tuple[NDArray[np.uint8], NDArray[np.int64]], tmp_path_factory: pytest.TempPathFactory) -> Results:
    images, labels = tiles
    folder = tmp_path_factory.mktemp("evaluated")
    return raypipe.evaluate(
        Bluest(), images, labels, ["fgsm"], to=str(folder), corruptions=["noise", "hue", "contrast"], **SETTINGS
    )


def test_every_severity_is_measured_as_if_by_hand(
    result: Results, tiles: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    images, labels = tiles
    rows = result.corruptions.to_pylist()
    assert [(row["corruption"], row["severity"]) for row in rows] == [
        (name, severity) for name in ("noise", "hue", "contrast") for severity in range(6)
    ]
    clean = (predict(Bluest(), images, 8, CPU).argmax(1) == labels).mean()
    for name in ("noise", "hue", "contrast"):
        spec = CorruptSpec(corruption=name, levels=CORRUPTIONS[name].levels, tiles=None, seed=0)
        right = [
            predict(Bluest(), corrupt_pixels(images, spec, severity, CPU), 8, CPU).argmax(1) == labels
            for severity in range(1, 6)
        ]
        shares = [float(np.mean(right)), *(float(each.mean()) for each in right)]
        own = [row for row in rows if row["corruption"] == name]
        np.testing.assert_allclose([row["accuracy"] for row in own], shares)
        np.testing.assert_allclose([row["clean_accuracy"] for row in own], clean)
        np.testing.assert_allclose([row["drop"] for row in own], clean - np.array(shares), atol=1e-12)
        assert all(row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in own)
        assert {row["tiles"] for row in own} == {24}


def test_errors_are_relative_to_those_of_the_first_undefended_model(result: Results) -> None:
    """The only model is its own baseline."""
    relative = [row["relative_error"] for row in result.corruptions.to_pylist()]
    assert set(relative) <= {None, 1.0}
    assert 1.0 in relative


def test_the_report_shows_the_worst_corruption(result: Results) -> None:
    rows = [row for row in result.corruptions.to_pylist() if row["severity"]]
    worst = min(rows, key=lambda row: row["accuracy"])
    table, heat = corruptions_table(result.book), corruptions_heat(result.book)
    assert table is not None
    assert heat is not None
    ((cells, _),) = table.lines()
    assert f"{CORRUPTIONS[worst['corruption']].title}, severity {worst['severity']}" in [cell.text for cell in cells]
    assert heat.columns == ("noise", "hue", "contrast")


def test_a_run_without_corruptions_has_no_table(
    tiles: tuple[NDArray[np.uint8], NDArray[np.int64]], tmp_path: Path
) -> None:
    images, labels = tiles
    result = raypipe.evaluate(Bluest(), images, labels, ["fgsm"], to=str(tmp_path), **SETTINGS)
    assert result.corruptions.num_rows == 0
    assert corruptions_table(result.book) is None


@pytest.mark.parametrize("names", [["nose"], "blur"])
def test_an_unknown_corruption_is_named(
    names: Any, tiles: tuple[NDArray[np.uint8], NDArray[np.int64]], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"corruptions.*expected pathology, or names among defocus"):
        raypipe.evaluate(Bluest(), *tiles, ["fgsm"], to=str(tmp_path), corruptions=names, **SETTINGS)
