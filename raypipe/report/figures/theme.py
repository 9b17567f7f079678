"""Look of the figures: matplotlib draws them and the page colors them, so one drawing serves light and dark mode."""

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

Panels = NDArray[Any]
"""(rows, columns) array of `matplotlib.axes.Axes`."""

INK, FAINT, GRID, PAPER = "#0d0d01", "#0d0d02", "#0d0d03", "#0d0d04"
CLEAN, ATTACKED, STATIC, WORST, TRANSFER, OTHER = (f"#0d0d1{digit}" for digit in "123456")
SERIES = tuple(f"#0d0d2{digit}" for digit in "12345678")
"""Colors of lines that have no meaning of their own. They only distinguish the lines."""
STYLES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
"""Styles of the same lines, for readers who do not see colors."""

_NAMES = {
    INK: "ink", FAINT: "faint", GRID: "grid", PAPER: "paper", CLEAN: "clean", ATTACKED: "attacked", STATIC: "static",
    WORST: "worst", TRANSFER: "transfer", OTHER: "other",
    **{color: f"series-{number}" for number, color in enumerate(SERIES, 1)},
}  # fmt: skip
"""Colors that stand for a variable of the page's style sheet. None of them is ever visible."""

_RULES: dict[Any, Any] = {
    "svg.fonttype": "none", "font.size": 10, "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"],
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GRID, "axes.titlecolor": INK, "axes.titlesize": 10.5,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.facecolor": "none", "figure.facecolor": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": GRID, "grid.linewidth": 0.6, "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5, "legend.frameon": False, "legend.fontsize": 9.5, "lines.linewidth": 1.8,
    "hatch.linewidth": 0.8, "hatch.color": PAPER, "figure.constrained_layout.use": True,
}  # fmt: skip

_SVG = re.compile(r'^<svg[^>]*?(viewBox="[^"]*")[^>]*>')
_UNSEEN = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)


@contextmanager
def canvas(width: float, height: float, rows: int = 1, columns: int = 1) -> Iterator[tuple[Figure, Panels]]:
    """Yield a figure and its panels, (rows, columns), in the look of the report. Sizes are in points."""
    with mpl.rc_context(_RULES):
        figure = Figure(figsize=(width / 72, height / 72))
        yield figure, figure.subplots(rows, columns, squeeze=False)


def render_svg(figure: Figure, name: str, label: str) -> str:
    """Return a figure as an ``<svg>`` element, which scales and takes its colors from the page.

    Equal figures give equal bytes.

    Parameters
    ----------
    figure
        Finished figure, inside its `canvas`.
    name
        Name of the figure, unique on the page.
    label
        Description of the figure for readers who cannot see it.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        # savefig would draw everything a second time for the layout, which print_svg computes anyway.
        drawing: Any = FigureCanvasSVG(figure)  # its methods have no types
        drawing.print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    text = _UNSEEN.sub("", text[text.index("<svg") :])
    width = figure.get_figwidth() * 72  # in points: at this width in pixels a font of 9 points has 9 pixels
    begin = f'<svg style="--width: {width:.0f}px" role="img" aria-label="{html.escape(label)}" '
    text = _SVG.sub(lambda found: f"{begin}{found[1]}>", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"(font: [^;\"]*?px) [^;\"]*", r"\1 var(--font)", text)
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", text)
    for color, variable in _NAMES.items():
        text = text.replace(color, f"var(--{variable})")
    return re.sub(r">\s+<", "><", text.replace("xlink:href", "href")).strip()


def get_line_color(number: int) -> str:
    """Return the color of a line or a mark without a meaning of its own, by its number from 0."""
    return SERIES[number % len(SERIES)]


def set_percent_axis(axes: Axes, *, vertical: bool = False) -> None:
    """Set an axis to 0 to 100 %, with a little room for marks at its ends."""
    if vertical:
        axes.set_ylim(0, 102)
        axes.set_yticks(range(0, 101, 25), [f"{tick} %" for tick in range(0, 101, 25)])
    else:
        axes.set_xlim(0, 102)
        axes.set_xticks(range(0, 101, 25), [f"{tick} %" for tick in range(0, 101, 25)])


class Key(NamedTuple):
    """An entry of a legend: its name, the color variable and the style of its line, or the shape of its mark."""

    name: str
    color: str
    style: str = "-"
    mark: str = ""


class Panel(NamedTuple):
    """Small drawings side by side, with one legend.

    Parameters
    ----------
    caption
        Content of the drawings, and how their intervals are computed.
    keys
        Legend.
    drawings
        SVG elements.
    """

    caption: str
    keys: tuple[Key, ...]
    drawings: tuple[str, ...]


def get_variable(color: str) -> str:
    """Return the variable of the page's style sheet that a color of the drawings stands for."""
    return _NAMES[color]
