"""The spread of stains over source tiles, measured on tiles whose stains are known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from raypipe.base.errors import ConfigError
from raypipe.cli.app import app
from raypipe.data.audit.audit import open_data
from raypipe.data.reading.png import encode_png
from raypipe.data.stain_spread import compare_stains, measure_stain_spread
from raypipe.data.stains import combine_stains

FACTORS = np.linspace(0.7, 1.3, 12)
"""Factors of hematoxylin of the source tiles of each class."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two classes with 12 source tiles each, twice, that differ only in hematoxylin."""
    root = tmp_path_factory.mktemp("stained")
    for label, usual in (("pale", 0.5), ("dark", 0.9)):
        (root / label).mkdir()
        for number, factor in enumerate(FACTORS):
            across = torch.linspace(0, 1, 128).expand(128, 128)
            amounts = torch.stack([factor * usual * across, 0.6 * across.T, torch.zeros(128, 128)])[None]
            pixels = combine_stains(amounts)[0].permute(1, 2, 0).mul(255).round().byte().numpy()
            for copy in (0, 1):
                (root / label / f"{number}-{copy}.png").write_bytes(encode_png(pixels))
    (root / "pale" / "cut.png").write_bytes(b"\x89PNG")
    return root


def test_the_ranges_are_those_that_the_tiles_were_stained_with(folder: Path) -> None:
    spread = measure_stain_spread(open_data(str(folder), group_pattern=r"(\d+)-"), share=0.5)
    assert (spread.tiles, spread.groups, list(spread.rejected)) == (48, 24, ["pale/cut.png"])
    assert spread.hematoxylin_factor == pytest.approx(np.quantile(FACTORS, [0.25, 0.75]).tolist(), abs=0.02)
    assert spread.eosin_factor == pytest.approx((1, 1), abs=0.02)
    assert spread.hematoxylin_shift == pytest.approx((0, 0), abs=0.02)
    assert spread.eosin_shift == pytest.approx((0, 0), abs=0.02)


def test_a_factor_and_a_shift_turn_the_usual_stain_of_a_class_into_that_of_a_tile() -> None:
    usual = np.array([[0.1, 1.1], [0.0, 0.5]])
    tiles = np.stack([usual, 1.2 * usual + 0.05, 0.8 * usual - 0.05])
    factors, shifts = compare_stains(np.concatenate([tiles, 3 * tiles]), ["a"] * 3 + ["b"] * 3)
    np.testing.assert_allclose(factors, np.repeat([1, 1.2, 0.8] * 2, 2).reshape(6, 2))
    np.testing.assert_allclose(shifts[:3], np.repeat([0, 0.05, -0.05], 2).reshape(3, 2), atol=1e-12)


def test_the_command_prints_settings_of_the_attack(folder: Path) -> None:
    done = CliRunner().invoke(app, ["data", "stains", str(folder), "--group-pattern", r"(\d+)-", "--share", "0.5"])
    assert done.exit_code == 0, done.output
    assert "48 tiles of 24 source tiles, 1 files rejected; each range holds 50 % of the source tiles" in done.stdout
    assert "{name: stain, basis: hed, hematoxylin_factor: [0.85, 1.15], eosin_factor: [1.00, 1.00]" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--basis", "rgb"], "expected one of hed, macenko"),
        (["--share", "90"], "expected more than 0 and less than 1"),
        (["--group-pattern", "-([01])"], "4 source tiles: expected at least 20"),
    ],
)
def test_wrong_options_are_named(folder: Path, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        app(["data", "stains", str(folder), *options], standalone_mode=False)
