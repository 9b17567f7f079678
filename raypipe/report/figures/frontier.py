"""Figure of clean against robust accuracy: one point for each model, and a line through those that no other beats."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from raypipe.evaluation.results.trainings import ONLINE, OTHER, STATIC, UNDEFENDED
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import name_hardening
from raypipe.report.figures.theme import (
    FAINT,
    INK,
    SERIES,
    Key,
    Panel,
    canvas,
    get_line_color,
    get_variable,
    render_svg,
    set_percent_axis,
)
from raypipe.report.frontier import Frontier, find_undominated, list_bounds, list_frontiers
from raypipe.report.layout import Book, Row
from raypipe.report.scope import describe_attacked_tiles

SHAPES = {UNDEFENDED: "oP", STATIC: "sX", ONLINE: "^v", OTHER: "D*"}
"""Marks of each kind of training: for the first defenses, and for those whose colors are used a second time."""
SHAPE_NAMES = {UNDEFENDED: "circle", STATIC: "square", ONLINE: "triangle", OTHER: "diamond"}
TICK = 10
"""Distance in percentage points of the ticks of clean accuracy, which differs less than robust accuracy."""
PLACES = ((5, 4), (5, -10), (-11, 4), (-11, -10), (12, -3), (-19, -3), (-3, 11), (-3, -18))
"""Places of a number around its point, in points (1/72 inch), best first."""
NEAR = 13
"""Distance in points (1/72 inch) at which two numbers would overlap."""


def draw_frontier_panel(book: Book) -> Panel | None:
    """Draw clean against robust accuracy: a drawing for each backbone and radius; None without a hardened model."""
    frontiers = list_frontiers(book)
    if not frontiers:
        return None
    kinds = {row["subject"]: row["kind"] for row in book.trainings}
    names = list(dict.fromkeys(name_hardening(book, subject) for subject in book.subjects))
    marks = {}
    for subject in book.subjects:
        number = names.index(name_hardening(book, subject))
        shapes = SHAPES[kinds.get(subject, OTHER)]
        marks[subject] = get_line_color(number), shapes[number // len(SERIES) % len(shapes)]
    drawings = tuple(
        _draw(book, frontier, bound, marks, f"frontier-{number}-{place}")
        for number, frontier in enumerate(frontiers)
        for place, bound in enumerate(list_bounds(book))
        if any(bound in book.find_worst_cases(subject) for subject in frontier.points)
    )
    shown = [subject for frontier in frontiers for subject in frontier.points]
    keys = {name_hardening(book, subject): marks[subject] for subject in shown}
    legend = [Key(name, get_variable(color), mark=mark) for name, (color, mark) in keys.items()]
    legend.append(Key("frontier: no other model is at least as good in both", get_variable(FAINT), "--"))
    kinds_shown = ", ".join(f"{shape}: {kind}" for kind, shape in SHAPE_NAMES.items() if kind in kinds.values())
    caption = (
        "Clean against robust accuracy, one point for each model, with 95 % intervals in both directions. Robust: the "
        "worst case over all attacks within the bound, AutoAttack's ensemble included. The numbers are those of the "
        f"table. Shapes: {kinds_shown}; {describe_attacked_tiles(book)}. {METHOD}"
    )
    return Panel(caption, tuple(legend), drawings)


def _draw(book: Book, frontier: Frontier, bound: str, marks: dict[str, tuple[str, str]], name: str) -> str:
    rows = {
        subject: (book.find_clean(subject), worst)
        for subject in frontier.points
        if (worst := book.find_worst_cases(subject).get(bound))
    }
    points = [(clean["accuracy"], robust["accuracy"]) for clean, robust in rows.values()]
    best = find_undominated(points)
    with canvas(360, 300) as (figure, panels):
        axes = panels[0, 0]
        axes.set_title(f"{frontier.title}, {bound}")
        axes.plot(*zip(*(_scale(points[place]) for place in best), strict=True), "--", color=FAINT, linewidth=1)
        for subject, (clean, robust) in rows.items():
            _mark(axes, clean, robust, *marks[subject])
        set_percent_axis(axes, vertical=True)
        lowest = min(
            100 * (clean["accuracy"] if clean["accuracy_low"] is None else clean["accuracy_low"])
            for clean, _ in rows.values()
        )
        left = TICK * math.floor(lowest / TICK)
        axes.set_xlim(left, 102)
        axes.set_xticks(range(left, 101, TICK), [f"{tick} %" for tick in range(left, 101, TICK)])
        axes.set_xlabel("clean accuracy")
        axes.set_ylabel("robust accuracy")
        _write_numbers(axes, [frontier.points[subject] for subject in rows], points)
        return render_svg(figure, name, _describe(book, frontier, bound, rows, best))


def _scale(point: tuple[float, float]) -> tuple[float, float]:
    return 100 * point[0], 100 * point[1]


def _mark(axes: Axes, clean: Row, robust: Row, color: str, shape: str) -> None:
    x, y = _scale((clean["accuracy"], robust["accuracy"]))
    for row, along in ((clean, True), (robust, False)):
        if row["accuracy_low"] is not None:  # tiles of a single group have no interval
            ends = [100 * row["accuracy_low"], 100 * row["accuracy_high"]]
            axes.plot(*((ends, [y, y]) if along else ([x, x], ends)), color=color, linewidth=1)
    axes.plot([x], [y], color=color, marker=shape, markersize=6, linestyle="")


def _write_numbers(axes: Axes, numbers: Sequence[int], points: Sequence[tuple[float, float]]) -> None:
    """Write each point's number beside it, where it hides no other number if there is such a place."""
    scale = 72 / axes.figure.get_dpi()  # of a figure without its layout, which moves points little
    taken: list[tuple[float, float]] = []
    for number, point in zip(numbers, points, strict=True):
        x, y = scale * axes.transData.transform(_scale(point))
        place = max(PLACES, key=lambda offset: _find_room((x + offset[0], y + offset[1]), taken))
        taken.append((x + place[0], y + place[1]))
        axes.annotate(str(number), _scale(point), place, textcoords="offset points", fontsize=8.5, color=INK)


def _find_room(place: tuple[float, float], taken: Sequence[tuple[float, float]]) -> float:
    """Return the distance to the nearest number, at most `NEAR`, so that the first free place is chosen."""
    return min([NEAR, *(max(abs(place[0] - x), abs(place[1] - y)) for x, y in taken)])


def _describe(book: Book, frontier: Frontier, bound: str, rows: dict[str, tuple[Row, Row]], best: Sequence[int]) -> str:
    subjects = list(rows)
    texts = "; ".join(_write(book, frontier, subjects[place], *rows[subjects[place]]) for place in best)
    others = "; ".join(
        _write(book, frontier, subject, *rows[subject]) for place, subject in enumerate(subjects) if place not in best
    )
    rest = f" Behind it: {others}." if others else ""
    return f"Clean against robust accuracy of {frontier.title} within {bound}. On the frontier: {texts}.{rest}"


def _write(book: Book, frontier: Frontier, subject: str, clean: Row, robust: Row) -> str:
    figures = f"{100 * clean['accuracy']:.0f} % clean and {100 * robust['accuracy']:.0f} % robust"
    return f"{frontier.points[subject]} {name_hardening(book, subject)}, {figures}"
