"""Figures of robust accuracy against the size of the perturbation, and of the smallest perturbations."""

from collections.abc import Iterator

from matplotlib.axes import Axes

from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import name_family, name_hardening
from raypipe.report.details import SCALES
from raypipe.report.figures.theme import (
    FAINT,
    INK,
    STYLES,
    Key,
    Panel,
    canvas,
    get_line_color,
    get_variable,
    render_svg,
    set_percent_axis,
)
from raypipe.report.layout import Book, Row
from raypipe.report.names import name_attack
from raypipe.report.scope import describe_attacked_tiles

SIZES = {"l2": "L2", "linf": "L-infinity (1/255)", "l0": "L0 (changed channel values)"}
LINEAR = {"l2": 0.1, "linf": 1.0, "l0": 1.0}
"""Size up to which the axis is linear. It is logarithmic above."""
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Marks of attacks. They differ in shape, because colors have other meanings."""


def draw_curves_panel(book: Book, name: str = "curves") -> Panel | None:
    """Draw robust accuracy of every model against eps, over all attacks: a drawing for each backbone and norm."""
    rows = [row for row in book.curves if row["attack"] is None]
    if not rows:
        return None
    kinds = list(dict.fromkeys(name_hardening(book, subject) for subject in book.subjects))
    drawings = tuple(_draw_curves(book, rows, kinds, name))
    caption = (
        "Robust accuracy by size of the perturbation, in the worst case over all attacks; "
        f"{describe_attacked_tiles(book)}. {METHOD}"
    )
    keys = (Key(kind, get_variable(get_line_color(number)), _choose_style(number)) for number, kind in enumerate(kinds))
    return Panel(caption, tuple(keys), drawings)


def _draw_curves(book: Book, rows: list[Row], kinds: list[str], name: str) -> Iterator[str]:
    norms = [norm for norm in SIZES if any(row["norm"] == norm for row in rows)]
    for number, members in enumerate(book.list_families().values()):
        for norm in norms:
            found = [row for row in rows if row["norm"] == norm and row["subject"] in members]
            title = f"{name_family(book, members[0])}, {SIZES[norm].split()[0]}"
            with canvas(340, 220) as (figure, panels):
                axes = panels[0, 0]
                axes.set_title(title)
                for row in found:
                    _draw_curve(axes, row, kinds.index(name_hardening(book, row["subject"])))
                axes.set_xscale("symlog", linthresh=LINEAR[norm])
                axes.set_xlim(0, _find_axis_end(rows, norm))
                axes.set_xlabel(SIZES[norm])
                set_percent_axis(axes, vertical=True)
                label = f"Robust accuracy by size in {title}. Median smallest perturbation: "
                medians = (
                    f"{name_hardening(book, row['subject'])} {_write(row['quartiles']['median'], norm)}"
                    for row in found
                )
                yield render_svg(figure, f"{name}-{number}-{norm}", f"{label}{'; '.join(medians)}.")


def _write(size: float | None, norm: str) -> str:
    scale, form = SCALES[norm]
    return "not reached" if size is None else f"{scale * size:{form}}"


def _choose_style(number: int) -> str:
    return STYLES[number % len(STYLES)]


def _draw_curve(axes: Axes, row: Row, number: int) -> None:
    color, scale = get_line_color(number), SCALES[row["norm"]][0]
    radii = [scale * eps for eps in row["eps"]]
    if None not in row["robust_accuracy_low"]:  # tiles of a single group have no interval
        low, high = ([100 * share for share in row[f"robust_accuracy_{end}"]] for end in ("low", "high"))
        axes.fill_between(radii, low, high, step="post", color=color, alpha=0.08, linewidth=0)
    shares = [100 * share for share in row["robust_accuracy"]]
    axes.step(radii, shares, where="post", color=color, linestyle=STYLES[number % len(STYLES)])


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


def draw_distortions_panel(book: Book) -> Panel | None:
    """Draw median and quartiles of the smallest perturbations of each attack that minimizes a norm, by model."""
    rows = [row for row in book.curves if row["attack"] is not None and row["quartiles"]["median"] is not None]
    if not rows:
        return None
    attacks = list(dict.fromkeys(row["attack"] for row in rows))
    drawings = []
    for norm in (norm for norm in SIZES if any(row["norm"] == norm for row in rows)):
        found = [row for row in rows if row["norm"] == norm]
        subjects = [subject for subject in book.subjects if any(row["subject"] == subject for row in found)]
        names = [f"{name_family(book, subject)}, {name_hardening(book, subject)}" for subject in subjects]
        with canvas(340, 42 * len(subjects) + 60) as (figure, panels):
            axes = panels[0, 0]
            for row in found:
                _draw_quartiles(axes, row, subjects.index(row["subject"]), attacks.index(row["attack"]), len(attacks))
            for place, subject_name in enumerate(names):  # above the marks, so that the axis has the whole width
                axes.annotate(subject_name, (0, place - 0.34), xycoords=("axes fraction", "data"), fontsize=9.5)
            axes.set_yticks([])
            axes.set_ylim(len(subjects) - 0.4, -0.8)
            axes.set_xscale("log")
            axes.set_xlabel(SIZES[norm])
            medians = [row["quartiles"]["median"] for row in found]
            label = f"Smallest perturbations in {SIZES[norm]}: medians from {_write(min(medians), norm)}"
            drawings.append(render_svg(figure, f"distortions-{norm}", f"{label} to {_write(max(medians), norm)}."))
    keys = (Key(name_attack(attack), get_variable(INK), mark=_mark(number)) for number, attack in enumerate(attacks))
    caption = "Minimum perturbation that fools each model, by attack: median (mark) and quartiles (line)."
    return Panel(caption, tuple(keys), tuple(drawings))


def _mark(number: int) -> str:
    return MARKS[number % len(MARKS)]


def _draw_quartiles(axes: Axes, row: Row, place: int, number: int, of: int) -> None:
    scale, found = SCALES[row["norm"]][0], row["quartiles"]
    height = place - 0.2 + 0.6 * (number + 0.5) / of
    ends = [scale * found[end] for end in ("lower", "upper") if found[end] is not None]
    if len(ends) == 2:
        axes.plot(ends, [height, height], color=FAINT)
    axes.plot([scale * found["median"]], [height], color=INK, marker=_mark(number), markersize=5, linestyle="")
