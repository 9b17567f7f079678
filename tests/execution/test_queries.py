"""Accuracy against the number of queries, from the settings to the tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import raypipe
from raypipe.base.errors import ConfigError
from raypipe.evaluation.queries import Queries
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.queries import choose_query_counts
from raypipe.report.figures.queries import draw_queries_panel
from raypipe.report.queries import tabulate_queries
from raypipe.report.results import Results

SETTINGS: dict[str, Any] = {"autoattack": None, "checks": None, "curves": {}}
MOST = 40


class Bluest(nn.Module):
    """A network that answers 1 for tiles with more blue than red, by the mean of a part of the tile."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        lead = 20 * (images[:, 2] - images[:, 0]).mean((1, 2))
        return torch.stack([torch.zeros_like(lead), lead], 1)


@pytest.fixture(scope="module")
def tiles() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return 24 tiles that are a little more red or blue than gray, and their classes; the last one is wrong."""
    random = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = random.integers(90, 160, (24, 16, 16, 3))
    images[..., 2] += (random.integers(2, 12, 24) * (2 * labels - 1))[:, None, None]
    labels[-1] = 1 - labels[-1]
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def result(tiles: tuple[NDArray[np.uint8], NDArray[np.int64]], tmp_path_factory: pytest.TempPathFactory) -> Results:
    queries = {"eps": 8 / 255, "most": MOST}
    folder = tmp_path_factory.mktemp("queried")
    return raypipe.evaluate(Bluest(), *tiles, ["fgsm"], to=str(folder), queries=queries, **SETTINGS)


def test_the_accuracy_falls_from_clean_to_that_of_the_stored_tiles(result: Results) -> None:
    rows = result.queries.to_pylist()
    assert {row["method"] for row in rows} == {"square", "rays"}
    for method in ("square", "rays"):
        own = [row for row in rows if row["method"] == method]
        assert [row["queries"] for row in own] == choose_query_counts(MOST)
        shares = [row["accuracy"] for row in own]
        assert shares == sorted(shares, reverse=True)
        clean, attacked = (
            next(row for row in result.records.to_pylist() if (row["protocol"], row["attack"]) == place)["accuracy"]
            for place in (("clean", None), ("white-box", f"queries/{method}"))
        )
        assert shares[0] == clean < 1
        assert shares[-1] == attacked < clean
        assert all(row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in own)


def test_each_share_is_that_of_the_tiles_that_need_more_queries(result: Results) -> None:
    artifacts = Artifacts(result.store)
    (pairing,) = (pairing for pairing in result.run.pairings if pairing.attack == "queries/rays")
    needed, correct = artifacts.read_queries(pairing), artifacts.read_predictions(pairing).correct
    fooled = ~correct & (needed > 0)
    assert fooled.sum() > 5
    for row in result.queries.to_pylist():
        if row["method"] == "rays":
            still = correct | (fooled & (needed > row["queries"]))
            assert row["accuracy"] == pytest.approx(still.mean())


def test_the_report_shows_a_table_and_curves(result: Results) -> None:
    table, panel = tabulate_queries(result.book), draw_queries_panel(result.book)
    assert table is not None
    assert panel is not None
    assert [column.heading for column in table.columns] == ["model", "attack", "0", "10", "30", "40"]
    assert len(list(table.lines())) == 2
    assert len(panel.drawings) == 1
    assert "after 40" in panel.drawings[0]


def test_a_run_without_queries_has_no_table(tiles: tuple[NDArray[np.uint8], NDArray[np.int64]], tmp_path: Path) -> None:
    result = raypipe.evaluate(Bluest(), *tiles, ["fgsm"], to=str(tmp_path), **SETTINGS)
    assert result.queries.num_rows == 0
    assert tabulate_queries(result.book) is None
    assert draw_queries_panel(result.book) is None


def test_the_norm_chooses_the_attacks() -> None:
    assert Queries().attacks == ("square", "rays")
    assert Queries(norm="l2", eps=0.5).attacks == ("square", "cgba")
    assert Queries(eps=0.1, most=50).runs()["queries/square"].ball == ("linf", 0.1)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ({"attacks": ["pgd"]}, r"'pgd': expected attacks that only query the model, square, rays, cgba"),
        ({"attacks": ["cgba"]}, r"'cgba'.*expected an attack in the norm linf"),
        ({"eps": 4}, r"did you mean 4/255"),
        ({"attacks": []}, r"at least 1"),
    ],
)
def test_errors_name_the_way_out(
    queries: Any, message: str, tiles: tuple[NDArray[np.uint8], NDArray[np.int64]], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        raypipe.evaluate(Bluest(), *tiles, ["fgsm"], to=str(tmp_path), queries=queries, **SETTINGS)


def test_counts_include_the_marks() -> None:
    assert choose_query_counts(1) == [0, 1]
    counts = choose_query_counts(10_000)
    assert set(counts) >= {0, 1, 10, 30, 100, 300, 1000, 3000, 10_000}
    assert counts == sorted(set(counts))
    assert len(counts) < 45
