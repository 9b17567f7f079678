"""Figure of the models' calibration."""

from matplotlib.axes import Axes

from raypipe.evaluation.protocols import ITSELF
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import name_family, name_hardening
from raypipe.report.figures.theme import (
    ATTACKED,
    CLEAN,
    FAINT,
    Key,
    Panel,
    canvas,
    get_variable,
    render_svg,
    set_percent_axis,
)
from raypipe.report.layout import Book, Row, format_percent
from raypipe.report.robustness import find_lowest
from raypipe.report.scope import describe_attacked_tiles


def draw_reliability_panel(book: Book) -> Panel:
    """Draw reliability diagrams: accuracy against confidence, clean and under attack, one for each model.

    The area of a point grows with the number of its tiles.
    """
    drawings = tuple(_draw(book, subject, f"reliability-{number}") for number, subject in enumerate(book.subjects))
    caption = (
        "Accuracy by confidence. On the dotted line a model is calibrated. The area of a point grows with its number "
        f"of tiles; {describe_attacked_tiles(book)}. {METHOD}"
    )
    keys = (Key("clean", get_variable(CLEAN), mark="o"), Key("white-box", get_variable(ATTACKED), mark="o"))
    return Panel(caption, keys, drawings)


def _draw(book: Book, subject: str, name: str) -> str:
    hardened_on = book.subjects[subject]["hardened_on"]
    clean, attacked = book.find_clean(subject), find_lowest(book, subject, ITSELF, hardened_on)
    title = f"{name_family(book, subject)}\n{name_hardening(book, subject)}"
    label = f"Accuracy by confidence of {title.replace(chr(10), ', ')}: clean, mean confidence "
    label += f"{_describe_confidence(clean)} and accuracy {format_percent(clean['accuracy'])} %"
    with canvas(265, 250) as (figure, panels):
        axes = panels[0, 0]
        axes.set_title(title, fontsize=9.5)
        axes.plot([0, 100], [0, 100], color=FAINT, linewidth=0.8, linestyle=":")
        _draw_diagram(axes, clean, CLEAN)
        if attacked is not None:
            _draw_diagram(axes, attacked, ATTACKED)
            label += f"; attacked, {_describe_confidence(attacked)} and {format_percent(attacked['accuracy'])} %"
        set_percent_axis(axes)
        set_percent_axis(axes, vertical=True)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        return render_svg(figure, name, f"{label}.")


def _describe_confidence(row: Row) -> str:
    return f"{format_percent(row['confidence'])} %"


def _draw_diagram(axes: Axes, row: Row, color: str) -> None:
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
