"""Figure of all threats: the accuracy of each model under each kind of threat, with intervals."""

from collections.abc import Iterator

from matplotlib.axes import Axes

from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import name_family, name_hardening
from raypipe.report.figures.curves import MARKS
from raypipe.report.figures.theme import Key, Panel, canvas, get_line_color, get_variable, render_svg, set_percent_axis
from raypipe.report.layout import Book, Row, format_percent
from raypipe.report.overview import index_overview, list_threats
from raypipe.report.scope import describe_attacked_tiles

ROW, BESIDE = 18, 10
"""Height of a threat, and further height for each model, in points."""


def draw_overview_panel(book: Book) -> Panel | None:
    """Draw the accuracy under each kind of threat: a drawing for each backbone; None without a view of all threats."""
    threats = list_threats(book)
    if not threats:
        return None
    kinds = list(dict.fromkeys(name_hardening(book, subject) for subject in book.subjects))
    keys = (
        Key(kind, get_variable(get_line_color(number)), mark=MARKS[number % len(MARKS)])
        for number, kind in enumerate(kinds)
    )
    caption = f"Accuracy under each kind of threat; {describe_attacked_tiles(book)}. {METHOD}"
    return Panel(caption, tuple(keys), tuple(_draw(book, threats, kinds)))


def _draw(book: Book, threats: list[str], kinds: list[str]) -> Iterator[str]:
    rows = index_overview(book)
    for number, members in enumerate(book.list_families().values()):
        title = name_family(book, members[0])
        height = (ROW + BESIDE * len(members)) * len(threats) + 60
        with canvas(380, height) as (figure, panels):
            axes = panels[0, 0]
            axes.set_title(title)
            for place, threat in enumerate(threats):
                for at, subject in enumerate(members):
                    if (row := rows.get((subject, threat))) is not None:
                        offset = 0.7 * ((at + 0.5) / len(members) - 0.5)
                        _mark(axes, row, place + offset, kinds.index(name_hardening(book, subject)))
            axes.set_yticks(range(len(threats)), threats)
            axes.set_ylim(len(threats) - 0.5, -0.5)
            set_percent_axis(axes)
            yield render_svg(
                figure, f"overview-{number}", f"{title}: {'; '.join(_describe(book, members, threats, rows))}."
            )


def _mark(axes: Axes, row: Row, height: float, number: int) -> None:
    color = get_line_color(number)
    if row["accuracy_low"] is not None:  # tiles of a single group have no interval
        axes.plot([100 * row["accuracy_low"], 100 * row["accuracy_high"]], [height, height], color=color, linewidth=1)
    axes.plot([100 * row["accuracy"]], [height], color=color, marker=MARKS[number % len(MARKS)], markersize=5)


def _describe(book: Book, members: list[str], threats: list[str], rows: dict[tuple[str, str], Row]) -> Iterator[str]:
    for subject in members:
        found = [(threat, row) for threat in threats if (row := rows.get((subject, threat))) is not None]
        texts = ", ".join(f"{threat} {format_percent(row['accuracy'])} %" for threat, row in found)
        yield f"{name_hardening(book, subject)}: {texts}"
