"""The stain attack in an evaluation: its tiles go through the tables of every attack, and its ranges are stated."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import raypipe
from raypipe.data.tissue import render_tile
from raypipe.report.robustness import tabulate_attacks
from raypipe.report.threats import tabulate_threats

SETTINGS: dict[str, Any] = {"autoattack": None, "checks": None, "curves": {}}
FACTORS = {"hematoxylin_factor": [0.5, 2.0], "eosin_factor": [0.5, 2.0]}


class Darkness(nn.Module):
    """A network that answers 1 for dark tiles, and so is misled by a stronger or weaker stain."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        lead = 20 * (0.6 - images.mean((1, 2, 3)))
        return torch.stack([-lead, lead], 1)


def test_an_adversary_fools_more_than_a_random_stain_and_the_report_names_the_ranges(tmp_path: Path) -> None:
    images = np.stack(
        [render_tile(label, number, 0, size=32, seed=0) for label in ("colon_n", "lung_aca") for number in range(8)]
    )
    labels = (images.mean((1, 2, 3)) < 0.6 * 255).astype(np.int64)
    assert 0 < labels.sum() < len(labels)
    attacks = {
        search: {"name": "stain", "search": search, "max_queries": 30, **FACTORS}
        for search in ("gradient", "random", "draw")
    }
    result = raypipe.evaluate(Darkness(), images, labels, attacks, to=str(tmp_path), **SETTINGS)
    rows = {row["attack"]: row for row in result.book.records if row["attack"]}
    assert rows["gradient"]["accuracy"] <= rows["random"]["accuracy"] <= rows["draw"]["accuracy"]
    assert rows["gradient"]["accuracy"] < rows["draw"]["accuracy"]
    assert [rows[search]["knowledge"] for search in attacks] == ["white-box", "score-based", "none"]
    assert {(row["norm"], row["eps"]) for row in rows.values()} == {("none", None)}
    for table in (tabulate_threats(result.run), tabulate_attacks(result.book)):
        assert table is not None
        assert "no pixel norm" in str([[*cells] for cells, _ in table.lines()]) + str(table.columns)
    assert "times 0.5 to 2 and 0.5 to 2" in str([[*cells] for cells, _ in tabulate_threats(result.run).lines()])
    assert "minimal" not in str(tabulate_attacks(result.book))
