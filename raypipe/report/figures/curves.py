"""Figures of robust accuracy against the size of the perturbation, and of the smallest perturbations."""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from raypipe.report.details import SCALES
from raypipe.report.figures.theme import INK, SERIES, STYLES, canvas, legend_above, percent_axis, svg
from raypipe.report.layout import Book, Row

SIZES = {"l2": "L2", "linf": "L-infinity (1/255)", "l0": "L0 (changed channel values)"}
LINEAR = {"l2": 0.1, "linf": 1.0, "l0": 1.0}
"""Size up to which the axis is linear. It is logarithmic above."""


def curves_figure(book: Book, name: str = "curves") -> str | None:
    """Draw robust accuracy of every model against eps, over all attacks, with a panel per backbone and norm."""
    rows = [row for row in book.curves if row["attack"] is None]
    if not rows:
        return None
    families, norms = book.families(), [norm for norm in SIZES if any(row["norm"] == norm for row in rows)]
    kinds = list(dict.fromkeys(book.describe_defense(subject) for subject in book.subjects))
    with canvas(1000, 230 * len(families) + 40, len(families), len(norms)) as (figure, panels):
        for (family, members), line in zip(families.items(), panels, strict=True):
            for norm, axes in zip(norms, line, strict=True):
                axes.set_title(f"{family}, {norm}")
                for row in rows:
                    if row["norm"] == norm and row["subject"] in members:
                        _curve(axes, row, kinds.index(book.describe_defense(row["subject"])))
                axes.set_xscale("symlog", linthresh=LINEAR[norm])
                axes.set_xlim(0, _find_axis_end(rows, norm))
                axes.set_xlabel(SIZES[norm])
                percent_axis(axes, vertical=True)
        lines = [Line2D([], [], color=color, linestyle=style) for color, style in map(_choose_style, range(len(kinds)))]
        legend_above(figure, lines, kinds)
        return svg(figure, name)


def _choose_style(number: int) -> tuple[str, Literal["-", "--", "-.", ":"]]:
    return SERIES[number % len(SERIES)], STYLES[number % len(STYLES)]


def _curve(axes: Axes, row: Row, number: int) -> None:
    color, style = _choose_style(number)
    scale = SCALES[row["norm"]][0]
    radii = [scale * eps for eps in row["eps"]]
    if None not in row["robust_accuracy_low"]:  # tiles of a single group have no interval
        low, high = ([100 * share for share in row[f"robust_accuracy_{end}"]] for end in ("low", "high"))
        axes.fill_between(radii, low, high, step="post", color=color, alpha=0.08, linewidth=0)
    axes.step(radii, [100 * share for share in row["robust_accuracy"]], where="post", color=color, linestyle=style)


def _find_axis_end(rows: list[Row], norm: str) -> float:
    """Return the end of the axis: 1.3 times a radius.

    The radius is the largest one at which some model is still correct on a tile, but at least that of the linear range.
    """
    radii = [
        eps
        for row in rows
        if row["norm"] == norm
        for eps, share in zip(row["eps"], row["robust_accuracy"], strict=True)
        if share > 0
    ]
    return 1.3 * max(SCALES[norm][0] * max(radii, default=0), LINEAR[norm])


def distortions_figure(book: Book) -> str | None:
    """Draw median and quartiles of the smallest perturbations of each attack that minimizes a norm, by model."""
    rows = [row for row in book.curves if row["attack"] is not None and row["quartiles"]["median"] is not None]
    if not rows:
        return None
    norms = [norm for norm in SIZES if any(row["norm"] == norm for row in rows)]
    subjects = [subject for subject in book.subjects if any(row["subject"] == subject for row in rows)]
    attacks = list(dict.fromkeys(row["attack"] for row in rows))
    with canvas(1000, 26 * len(subjects) + 90, 1, len(norms)) as (figure, panels):
        for norm, axes in zip(norms, panels.flat, strict=True):
            for row in rows:
                if row["norm"] == norm:
                    _quartiles(axes, row, subjects.index(row["subject"]), attacks.index(row["attack"]), len(attacks))
            first = norm == norms[0]
            axes.set_yticks(range(len(subjects)), subjects if first else [""] * len(subjects), color=INK, fontsize=8.5)
            axes.set_ylim(len(subjects) - 0.4, -0.6)
            axes.set_xscale("log")
            axes.set_xlabel(SIZES[norm])
            axes.tick_params("y", length=0)
        marks = [Line2D([], [], color=SERIES[number % len(SERIES)], marker="o") for number, _ in enumerate(attacks)]
        legend_above(figure, marks, attacks)
        return svg(figure, "distortions")


def _quartiles(axes: Axes, row: Row, place: int, number: int, of: int) -> None:
    scale, found, color = SCALES[row["norm"]][0], row["quartiles"], SERIES[number % len(SERIES)]
    height = place + 0.7 * ((number + 0.5) / of - 0.5)
    ends = [scale * found[end] for end in ("lower", "upper") if found[end] is not None]
    if len(ends) == 2:
        axes.plot(ends, [height, height], color=color)
    axes.plot([scale * found["median"]], [height], color=color, marker="o", markersize=4.5)
