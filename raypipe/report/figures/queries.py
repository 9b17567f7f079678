"""Figure of accuracy against the number of queries."""

from collections.abc import Iterator

from matplotlib.axes import Axes

from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import name_family, name_hardening
from raypipe.report.figures.theme import (
    STYLES,
    Key,
    Panel,
    canvas,
    get_line_color,
    get_variable,
    render_svg,
    set_percent_axis,
)
from raypipe.report.layout import Book, Row, describe_threat, format_percent
from raypipe.report.names import name_attack
from raypipe.report.queries import COUNTED, list_series
from raypipe.report.scope import describe_attacked_tiles


def draw_queries_panel(book: Book) -> Panel | None:
    """Draw accuracy against the number of queries: a drawing for each backbone; None if the run has none."""
    if not book.queries:
        return None
    kinds = list(dict.fromkeys(name_hardening(book, subject) for subject in book.subjects))
    methods = list(dict.fromkeys(row["method"] for row in book.queries))
    keys = [
        Key(f"{kind}, {name_attack(method)}", get_variable(get_line_color(number)), STYLES[place % len(STYLES)])
        for number, kind in enumerate(kinds)
        for place, method in enumerate(methods)
    ]
    caption = (
        f"Accuracy by number of queries for each tile, {', '.join(dict.fromkeys(map(describe_threat, book.queries)))}; "
        f"{describe_attacked_tiles(book)}. {COUNTED} {METHOD}"
    )
    return Panel(caption, tuple(keys), tuple(_draw(book, kinds, methods)))


def _draw(book: Book, kinds: list[str], methods: list[str]) -> Iterator[str]:
    series = list_series(book)
    for number, members in enumerate(book.list_families().values()):
        own = {place: rows for place, rows in series.items() if place[0] in members}
        if not own:
            continue
        title = name_family(book, members[0])
        with canvas(340, 220) as (figure, panels):
            axes = panels[0, 0]
            axes.set_title(title)
            for (subject, _), rows in own.items():
                _draw_curve(axes, rows, kinds.index(name_hardening(book, subject)), methods.index(rows[0]["method"]))
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xlim(0, max(row["queries"] for row in book.queries))
            axes.set_xlabel("queries")
            set_percent_axis(axes, vertical=True)
            ends = "; ".join(
                f"{name_hardening(book, subject)} under {name_attack(rows[-1]['method'])} "
                f"{format_percent(rows[-1]['accuracy'])} % after {rows[-1]['queries']:,}"
                for (subject, _), rows in own.items()
            )
            yield render_svg(figure, f"queries-{number}", f"Accuracy by number of queries of {title}: {ends}.")


def _draw_curve(axes: Axes, rows: list[Row], color: int, style: int) -> None:
    counts = [row["queries"] for row in rows]
    if all(row["accuracy_low"] is not None for row in rows):  # tiles of a single group have no interval
        low, high = ([100 * row[f"accuracy_{end}"] for row in rows] for end in ("low", "high"))
        axes.fill_between(counts, low, high, step="post", color=get_line_color(color), alpha=0.08, linewidth=0)
    shares = [100 * row["accuracy"] for row in rows]
    axes.step(counts, shares, where="post", color=get_line_color(color), linestyle=STYLES[style % len(STYLES)])
