"""The first figure of a report: the accuracy of each model, clean and under attack."""

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from raypipe.evaluation.checks.rules import Verdict
from raypipe.evaluation.protocols import ITSELF
from raypipe.report.figures.theme import (
    ATTACKED,
    CLEAN,
    FAINT,
    INK,
    STATIC,
    WORST,
    canvas,
    legend_above,
    percent_axis,
    svg,
)
from raypipe.report.layout import Book, Row
from raypipe.report.robustness import find_lowest, verdicts_of

BAR = 0.2
"""Height of a bar, in units of the height of a model."""
MEASURES = {
    "clean": ("clean", CLEAN),
    "static": ("static (paper): crafted against the undefended model", STATIC),
    "attacked": ("white-box attack on the model itself", ATTACKED),
    "worst": ("worst case over all attacks", WORST),
}


def robustness_figure(book: Book, name: str = "robustness") -> str:
    """Draw the accuracy of each model, by backbone and defense, with intervals.

    The bars show clean accuracy, static evaluation, attacks on the model itself, and the worst case.
    """
    families, verdicts = book.families(), verdicts_of(book)
    across = min(3, len(families))
    down = -(-len(families) // across)
    tallest = max(map(len, families.values()))
    with canvas(1000, down * (46 * tallest + 40) + 40, down, across) as (figure, panels):
        for axes, (family, members) in zip(panels.flat, families.items(), strict=False):
            axes.set_title(family)
            for place, subject in enumerate(members):
                _bars(axes, book, subject, place)
            axes.set_yticks(range(len(members)), [_name(book, name, verdicts) for name in members], color=INK)
            axes.set_ylim(tallest - 0.45, -0.55)
            axes.tick_params("y", length=0)
            axes.grid(visible=False, axis="y")
            percent_axis(axes)
        for axes in panels.flat[len(families) :]:
            axes.set_visible(False)
        legend_above(
            figure,
            [Patch(color=color) for _, color in MEASURES.values()],
            [f"{name}, {book.headline}" if measure == "worst" else name for measure, (name, _) in MEASURES.items()],
        )
        return svg(figure, name)


def _bars(axes: Axes, book: Book, subject: str, place: int) -> None:
    found = dict(_figures(book, subject))
    top = place - BAR * (len(found) - 1) / 2
    for number, (measure, row) in enumerate(found.items()):
        height, accuracy = top + number * BAR, 100 * row["accuracy"]
        axes.barh(height, max(accuracy, 0.4), 0.86 * BAR, color=MEASURES[measure][1])
        end = accuracy
        if row["accuracy_low"] is not None:
            low, end = 100 * row["accuracy_low"], max(accuracy, 100 * row["accuracy_high"])
            axes.plot([low, end], [height, height], color=INK, linewidth=0.9, alpha=0.75)
        axes.annotate(
            f"{accuracy:.0f}", (end, height), (3, 0), textcoords="offset points", va="center", fontsize=7.5, color=FAINT
        )


def _figures(book: Book, subject: str) -> Iterator[tuple[str, Row]]:
    clean = book.subjects[subject]
    rows = {
        "clean": book.clean(subject),
        "static": find_lowest(book, subject, ("static",), clean["hardened_on"]),
        "attacked": find_lowest(book, subject, ITSELF, clean["hardened_on"]),
        "worst": book.headline_case(subject),
    }
    yield from ((measure, row) for measure, row in rows.items() if row is not None)


def _name(book: Book, subject: str, verdicts: dict[str, Verdict]) -> str:
    """Return the name of a model's defense, with a mark where the model's verdict is withheld."""
    name = book.describe_defense(subject).replace(", ", "\n")
    return f"{name}\n(robustness not claimed)" if subject in verdicts and verdicts[subject].withheld else name
