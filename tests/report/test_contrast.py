"""Contrast of the report's colors in both color schemes, by the rules of WCAG 2.2 (1.4.3 and 1.4.11)."""

import re
from importlib.resources import files
from itertools import product
from typing import get_args

import pytest

from raypipe.report.figures.colors import Scheme, read_colors

SCHEMES = get_args(Scheme)
GROUNDS = ("paper", "page")
TEXTS = ("ink", "faint", "accent", "good", "bad", "warn")
MEANINGS = (
    "clean",
    "static",
    "attacked",
    "worst",
    "transfer",
    "other",
    *(f"series-{number}" for number in range(1, 9)),
)
MARKS = (*MEANINGS, "edge", *TEXTS)
"""Colors of bars, lines, points, borders and signs."""
HEATS = ("clean", "static", "attacked", "transfer")
"""Colors of the matrices, which have figures on them."""
DEEPEST = 0.55
"""Share of its color in the deepest cell of a matrix."""


def luminance(color: str) -> float:
    """Return the relative luminance of a color such as ``#2f6fb5``, by the definition of WCAG."""
    channels = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colors, from 1 to 21."""
    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def mix(color: str, ground: str, share: float) -> str:
    """Return a color that is mixed with its background, as the style sheet does in sRGB."""
    pairs = ((int(color[at : at + 2], 16), int(ground[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(share * above + (1 - share) * below):02x}" for above, below in pairs)


def test_the_ratio_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_color_of_the_style_sheet_is_checked(scheme: Scheme) -> None:
    soft = {name for name in read_colors(scheme) if name.endswith("-soft")}
    assert read_colors(scheme).keys() == {*MARKS, *GROUNDS, *soft, "grid"}, "the grid is decoration"
    style = files("raypipe.report.page").joinpath("templates", "style.css").read_text()
    assert f"* {100 * DEEPEST:.0f}%)" in style
    assert not re.findall(r"(?<!&)#[0-9a-f]{3,6}\b", re.sub(r"--[\w-]+: #[0-9a-f]{6}", "", style)), (
        "colors are variables"
    )


@pytest.mark.parametrize(("scheme", "name", "ground"), list(product(SCHEMES, MARKS, GROUNDS)))
def test_a_color_with_a_meaning_can_be_seen(scheme: Scheme, name: str, ground: str) -> None:
    colors = read_colors(scheme)
    assert contrast(colors[name], colors[ground]) >= 3


@pytest.mark.parametrize(("scheme", "name", "ground"), list(product(SCHEMES, TEXTS, GROUNDS)))
def test_text_can_be_read(scheme: Scheme, name: str, ground: str) -> None:
    colors = read_colors(scheme)
    assert contrast(colors[name], colors[ground]) >= 4.5


@pytest.mark.parametrize(("scheme", "tone"), list(product(SCHEMES, ("good", "bad", "warn"))))
def test_a_verdict_can_be_read_on_its_own_ground(scheme: Scheme, tone: str) -> None:
    colors = read_colors(scheme)
    assert contrast(colors[tone], colors[f"{tone}-soft"]) >= 4.5


@pytest.mark.parametrize(("scheme", "heat"), list(product(SCHEMES, HEATS)))
def test_a_figure_can_be_read_in_the_deepest_cell_of_a_matrix(scheme: Scheme, heat: str) -> None:
    colors = read_colors(scheme)
    assert contrast(colors["ink"], mix(colors[heat], colors["page"], DEEPEST)) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_two_figures_under_attack_differ_without_their_hue(scheme: Scheme) -> None:
    colors = read_colors(scheme)
    assert contrast(colors["attacked"], colors["worst"]) >= 3
