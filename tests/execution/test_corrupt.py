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
from raypipe.corruptions.pixels import corrupt_pixels
from raypipe.evaluation.predict import predict
from raypipe.report.corruptions import build_corruptions_heat, tabulate_corruptions
from raypipe.report.results import Results
from raypipe.report.strips import draw_corruption_strips

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
        right = [
            predict(Bluest(), corrupt_pixels(images, name, level, 0, CPU), 8, CPU).argmax(1) == labels
            for level in CORRUPTIONS[name].levels
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
    table, heat = tabulate_corruptions(result.book), build_corruptions_heat(result.book)
    assert table is not None
    assert heat is not None
    ((cells, _),) = table.lines()
    assert f"{CORRUPTIONS[worst['corruption']].title}, severity {worst['severity']}" in [cell.text for cell in cells]
    assert heat.columns == ("noise", "hue", "contrast")


def test_the_report_shows_tiles_at_every_severity_of_the_worst_corruptions(result: Results) -> None:
    strips = tuple(draw_corruption_strips(result.run, result.book, result.store, "model"))
    overall = {row["corruption"]: row["accuracy"] for row in result.corruptions.to_pylist() if row["severity"] == 0}
    titles = [CORRUPTIONS[name].title for name in sorted(overall, key=lambda name: (overall[name], name))]
    assert [strip.title.split(":")[0] for strip in strips] == titles
    assert all(len({version.image for version in strip.versions}) == 6 for strip in strips)
    assert all(strip.versions[0].correct for strip in strips)
    assert any(not version.correct for version in strips[0].versions)
    page = Path(result.report()).read_text()
    assert page.count('<figure class="strip">') == len(titles)
    assert strips[0].versions[5].image in page


def test_tiles_that_may_not_be_redistributed_are_not_shown(result: Results) -> None:
    run = result.run.model_copy(update={"restriction": "the license forbids it"})
    assert not tuple(draw_corruption_strips(run, result.book, result.store, "model"))


def test_a_run_without_corruptions_has_no_table(
    tiles: tuple[NDArray[np.uint8], NDArray[np.int64]], tmp_path: Path
) -> None:
    images, labels = tiles
    result = raypipe.evaluate(Bluest(), images, labels, ["fgsm"], to=str(tmp_path), **SETTINGS)
    assert result.corruptions.num_rows == 0
    assert tabulate_corruptions(result.book) is None


@pytest.mark.parametrize("names", [["nose"], "blur"])
def test_an_unknown_corruption_is_named(
    names: Any, tiles: tuple[NDArray[np.uint8], NDArray[np.int64]], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"corruptions.*expected pathology, or names among defocus"):
        raypipe.evaluate(Bluest(), *tiles, ["fgsm"], to=str(tmp_path), corruptions=names, **SETTINGS)
