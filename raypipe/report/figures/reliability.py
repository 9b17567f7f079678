"""Figure of the models' calibration."""

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from raypipe.evaluation.protocols import ITSELF
from raypipe.report.figures.theme import ATTACKED, CLEAN, FAINT, canvas, legend_above, percent_axis, svg
from raypipe.report.layout import Book, Row
from raypipe.report.robustness import find_lowest


def reliability_figure(book: Book) -> str:
    """Draw reliability diagrams: accuracy against confidence, clean and under attack.

    The area of a point grows with the number of its tiles.
    """
    families = book.families()
    across = max(len(members) for members in families.values())
    size = (max(1000, 190 * across), len(families) * 230 + 40)
    with canvas(*size, len(families), across) as (figure, panels):
        for members, line in zip(families.values(), panels, strict=True):
            for place, axes in enumerate(line):
                if place >= len(members):
                    axes.set_visible(False)
                    continue
                subject = members[place]
                axes.set_title(subject.replace("/", "\n"), fontsize=9)
                axes.plot([0, 100], [0, 100], color=FAINT, linewidth=0.8, linestyle=":")
                _diagram(axes, book.clean(subject), CLEAN)
                attacked = find_lowest(book, subject, ITSELF, book.subjects[subject]["hardened_on"])
                if attacked is not None:
                    _diagram(axes, attacked, ATTACKED)
                percent_axis(axes)
                percent_axis(axes, vertical=True)
                axes.set_xlabel("confidence")
                if place == 0:
                    axes.set_ylabel("accuracy")
        marks = [Line2D([], [], color=color, marker="o", markersize=5) for color in (CLEAN, ATTACKED)]
        legend_above(figure, marks, ["clean", "white-box attack"])
        return svg(figure, "reliability")


def _diagram(axes: Axes, row: Row, color: str) -> None:
    bins = [each for each in row["reliability"] if each["tiles"]]
    tiles = sum(each["tiles"] for each in bins)
    confidence = [100 * each["confidence"] for each in bins]
    accuracy = [100 * each["accuracy"] for each in bins]
    for place, each in zip(confidence, bins, strict=True):
        if each["accuracy_low"] is not None:
            axes.plot(
                [place, place], [100 * each["accuracy_low"], 100 * each["accuracy_high"]], color=color, linewidth=0.7
            )
    axes.scatter(
        confidence, accuracy, [8 + 90 * each["tiles"] / tiles for each in bins], color=color, alpha=0.8, linewidths=0
    )
