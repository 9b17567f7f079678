"""Figure of the recall of each class, with and without attacks."""

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from raypipe.evaluation.protocols import ITSELF
from raypipe.report.figures.theme import ATTACKED, CLEAN, INK, STATIC, canvas, legend_above, percent_axis, svg
from raypipe.report.layout import Book, Row
from raypipe.report.robustness import find_lowest

MEASURES = {"clean": CLEAN, "static": STATIC, "white-box attack": ATTACKED}
ROW = 30
"""Height of a label's bars, in points."""


def labels_figure(book: Book) -> str:
    """Draw the recall of each label for every model, with intervals: clean, static and under white-box attacks."""
    families = book.families()
    across = max(len(members) for members in families.values())
    labels = next(iter(book.subjects.values()))["labels"]
    height = len(families) * (ROW * len(labels) + 50) + 40
    with canvas(max(1000, 190 * across), height, len(families), across) as (figure, panels):
        for members, line in zip(families.values(), panels, strict=True):
            for place, axes in enumerate(line):
                if place >= len(members):
                    axes.set_visible(False)
                    continue
                axes.set_title(members[place].replace("/", "\n"), fontsize=9)
                _bars(axes, book, members[place])
                axes.set_yticks(range(len(labels)), labels if place == 0 else [""] * len(labels), color=INK)
                axes.set_ylim(len(labels) - 0.5, -0.5)
                axes.tick_params("y", length=0)
                percent_axis(axes)
        legend_above(figure, [Patch(color=color) for color in MEASURES.values()], list(MEASURES))
        return svg(figure, "labels")


def _bars(axes: Axes, book: Book, subject: str) -> None:
    clean = book.subjects[subject]
    rows: dict[str, Row | None] = {
        "clean": book.clean(subject),
        "static": find_lowest(book, subject, ("static",), clean["hardened_on"]),
        "white-box attack": find_lowest(book, subject, ITSELF, clean["hardened_on"]),
    }
    found = {measure: row for measure, row in rows.items() if row is not None}
    for number, (measure, row) in enumerate(found.items()):
        height = 0.8 / len(found)
        for label, share in enumerate(row["recall"]):
            middle = label + height * (number - (len(found) - 1) / 2)
            if share is None:  # no tile of the class: an empty bar would look like a recall of 0
                axes.text(1, middle, "-", va="center", color=MEASURES[measure], fontsize=8)
                continue
            axes.barh(middle, 100 * share, 0.85 * height, color=MEASURES[measure])
            low, high = row["recall_low"][label], row["recall_high"][label]
            if low is not None:
                axes.plot([100 * low, 100 * high], [middle, middle], color=INK, linewidth=0.7, alpha=0.7)
