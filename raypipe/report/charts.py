"""Bar charts as data. A page draws them with its own text and colors, so they fit any width, print, and can be read."""

from collections.abc import Iterator
from typing import NamedTuple

from raypipe.evaluation.protocols import ITSELF
from raypipe.report.cells import name_family, name_hardening, name_kind
from raypipe.report.layout import Book, Row, format_percent
from raypipe.report.names import name_attack, name_class_in_full
from raypipe.report.robustness import find_lowest, find_static, find_verdicts

CLEAN, STATIC, DIRECT, WORST = "clean", "static", "direct", "worst"
MEASURES = {
    CLEAN: "clean tiles",
    STATIC: "static (paper): adversarial tiles made for the undefended model",
    DIRECT: "white-box: attacks on the model itself",
    WORST: "worst case over all attacks",
}
"""Meanings of the bars. Each meaning has one color everywhere in the report."""


class Bar(NamedTuple):
    """A bar of a chart.

    Parameters
    ----------
    measure
        Key of `MEASURES`.
    value, low, high
        Share and its interval, in percent; None where it is undefined.
    text
        Share as text.
    hint
        Tooltip of the bar: the model, the figure and its interval.
    """

    measure: str
    value: float | None
    low: float | None
    high: float | None
    text: str
    hint: str


class Bars(NamedTuple):
    """The bars of one model or class, with a name, a fainter line below it, and the kind of the model."""

    name: str
    below: str
    kind: str
    bars: tuple[Bar, ...]


class Chart(NamedTuple):
    """A chart of bars from 0 to 100 %.

    Parameters
    ----------
    label
        Description for readers who cannot see it.
    measures
        Meanings of its bars, by key.
    panels
        Title and bars of each panel.
    """

    label: str
    measures: dict[str, str]
    panels: tuple[tuple[str, tuple[Bars, ...]], ...]


def build_robustness_chart(book: Book, *subjects: str) -> Chart:
    """Return a chart of accuracy: clean, static, white-box and in the worst case.

    Parameters
    ----------
    subjects
        Ids of the models to show; all models if there are none.
    """
    verdicts = find_verdicts(book)
    panels = []
    for family in book.list_families().values():
        members = [subject for subject in family if subject in (subjects or family)]
        if not members:
            continue
        bars = []
        for subject in members:
            withheld = subject in verdicts and verdicts[subject].withheld
            below = "a sanity check failed or did not apply" if withheld else ""
            rows = {**_find_rows(book, subject), WORST: book.find_headline_case(subject)}
            found = tuple(
                _build_bar(measure, row, name_hardening(book, subject)) for measure, row in rows.items() if row
            )
            bars.append(Bars(name_hardening(book, subject), below, name_kind(book, subject), found))
        panels.append((name_family(book, members[0]), tuple(bars)))
    measures = {**MEASURES, WORST: f"{MEASURES[WORST]}, {book.headline}" if book.headline else MEASURES[WORST]}
    return _build_chart("Accuracy of each model", measures, tuple(panels))


def build_recall_chart(book: Book, subject: str) -> Chart:
    """Return a chart of the recall of each class for one model: clean, static, and white-box."""
    rows = _find_rows(book, subject)
    labels = next(iter(book.subjects.values()))["labels"]
    bars = tuple(
        Bars(
            name_class_in_full(label),
            "",
            "",
            tuple(_recall(measure, row, number, label) for measure, row in rows.items() if row),
        )
        for number, label in enumerate(labels)
    )
    title = f"{name_family(book, subject)}, {name_hardening(book, subject)}"
    measures = {name: text for name, text in MEASURES.items() if name in rows}
    return _build_chart(f"Recall of each class by {title}", measures, ((title, bars),))


def _find_rows(book: Book, subject: str) -> dict[str, Row | None]:
    hardened_on = book.subjects[subject]["hardened_on"]
    return {
        CLEAN: book.find_clean(subject),
        STATIC: find_static(book, subject),
        DIRECT: find_lowest(book, subject, ITSELF, hardened_on),
    }


def _build_bar(measure: str, row: Row, name: str) -> Bar:
    return _write_bar(measure, row["accuracy"], row["accuracy_low"], row["accuracy_high"], row, name)


def _recall(measure: str, row: Row, number: int, label: str) -> Bar:
    value, low, high = (row[name][number] for name in ("recall", "recall_low", "recall_high"))
    return _write_bar(measure, value, low, high, row, name_class_in_full(label))


def _write_bar(measure: str, value: float | None, low: float | None, high: float | None, row: Row, name: str) -> Bar:
    under = f" ({name_attack(row['attack'])}, {row['knowledge']})" if row["attack"] else ""
    interval = "no interval" if low is None else f"95 % interval {format_percent(low)} to {format_percent(high)} %"
    shares = (None if share is None else 100 * share for share in (value, low, high))
    text = "-" if value is None else f"{100 * value:.0f}"
    hint = f"{name}: {MEASURES[measure]}{under}: " + (
        "no tile" if value is None else f"{format_percent(value)} %, {interval}"
    )
    value, low, high = shares
    return Bar(measure, value, low, high, text, hint)


def _build_chart(title: str, measures: dict[str, str], panels: tuple[tuple[str, tuple[Bars, ...]], ...]) -> Chart:
    ranges = "; ".join(_describe_ranges(measures, panels))
    shown = {bar.measure for _, rows in panels for each in rows for bar in each.bars}
    return Chart(f"{title}: {ranges}.", {name: text for name, text in measures.items() if name in shown}, panels)


def _describe_ranges(measures: dict[str, str], panels: tuple[tuple[str, tuple[Bars, ...]], ...]) -> Iterator[str]:
    for measure, text in measures.items():
        found = [bar.value for _, rows in panels for each in rows for bar in each.bars if bar.measure == measure]
        values = [value for value in found if value is not None]
        if values:
            yield f"{text} {min(values):.0f} to {max(values):.0f} %"
