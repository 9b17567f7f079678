"""Tables that compare runs side by side."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType

from raypipe.evaluation.protocols import ITSELF
from raypipe.evaluation.results.outcomes import WORST_CASE
from raypipe.evaluation.results.run import Run
from raypipe.evaluation.results.strength import attack_strength, have_same_data, match_subjects
from raypipe.evaluation.statistics.intervals import DIFFERENCE_METHOD, METHOD, P_VALUE_METHOD
from raypipe.report.cells import format_model
from raypipe.report.fitting_table import render_table
from raypipe.report.layout import (
    Book,
    Row,
    describe_threat,
    format_interval,
    format_p_value,
    format_verdict,
    format_with_interval,
    name_or_dash,
)
from raypipe.report.robustness import find_lowest, find_static, find_verdicts
from raypipe.report.scope import describe_attacked_tiles, describe_test_tiles
from raypipe.report.screen import format_summary
from raypipe.report.sheet import Cell, Note, Sheet, Tone
from raypipe.report.tables import render_note


def tabulate_side_by_side(books: Mapping[str, Book]) -> Sheet:
    """Return a table of the accuracy of every model, with a row for each run below the others of the model.

    It gives accuracy on clean tiles, in static evaluation, under attacks on the model itself and in the worst cases.

    Parameters
    ----------
    books
        Rows of each run, by the name of the run.
    """
    scopes = {run: f"{describe_attacked_tiles(book)}, {describe_test_tiles(book)}" for run, book in books.items()}
    same = len(set(scopes.values())) == 1
    scope = next(iter(scopes.values())) if same else "; ".join(f"{run}: {text}" for run, text in scopes.items())
    table = Sheet(f"Accuracy and its 95 % interval, in %. {scope[0].upper() if same else scope[0]}{scope[1:]}")
    table.caption = METHOD
    radii = list(
        dict.fromkeys(
            name for book in books.values() for subject in book.subjects for name in book.find_worst_cases(subject)
        )
    )
    table.add_columns("model", "run", whole=True)
    headings = ["clean,\ntest set", "clean,\nattacked\ntiles", "static\n(paper)", "white-box"]
    headings += ["worst\n" + radius.replace(" <= ", "\n<= ").replace(", ", ",\n") for radius in radii]
    table.add_columns(*headings, figures=True)
    table.add_columns("checks", whole=True)
    for subject in dict.fromkeys(subject for book in books.values() for subject in book.subjects):
        for run, book in books.items():
            if subject in book.subjects:
                figures = map(format_interval, _find_figures(book, subject, radii))
                table.add_row(format_model(book, subject), run, *figures, _format_checks(book, subject))
        table.add_section()
    return table


def _find_figures(book: Book, subject: str, radii: Iterable[str]) -> list[Row | None]:
    clean, worst = book.subjects[subject], book.find_worst_cases(subject)
    static = find_static(book, subject)
    white_box = find_lowest(book, subject, ITSELF, clean["hardened_on"])
    return [clean, book.find_clean(subject), static, white_box, *(worst.get(radius) for radius in radii)]


def _format_checks(book: Book, subject: str) -> Cell:
    verdict = find_verdicts(book).get(subject)
    return format_verdict(verdict.failed if verdict else None)


MOST_ROWS = 24
"""Largest number of rows of the summary, which has to fit a screen."""


def tabulate_comparison(books: Mapping[str, Book]) -> Sheet:
    """Return one row for each model and run: clean, static, white-box and worst-case accuracy, and the sanity checks.

    Parameters
    ----------
    books
        Rows of each run, by the name of the run.
    """
    bounds = list(dict.fromkeys(book.headline for book in books.values() if book.headline))
    table = Sheet(f"Accuracy in %; worst case [95 %]: {' or '.join(bounds) or 'not measured'}")
    table.add_columns("model", "run")
    table.add_columns("clean", "static", "white-\nbox", "worst case", figures=True, whole=True)
    table.add_columns("checks", whole=True)
    for subject in dict.fromkeys(subject for book in books.values() for subject in book.subjects):
        for run, book in books.items():
            if subject in book.subjects:
                table.add_row(subject, run, *format_summary(book, subject, find_verdicts(book).get(subject)))
    return table


def render_comparison(
    books: Mapping[str, Book], differences: Sequence[Mapping[str, Any]], *, every: bool
) -> Iterator[RenderableType]:
    """Yield the comparison of runs for a terminal: a summary that fits a screen, or every table.

    Parameters
    ----------
    differences
        Result of `raypipe.evaluation.results.across.compare_across`.
    """
    if every:
        yield render_table(tabulate_side_by_side(books), compact=True)
        if (sheet := tabulate_run_differences(differences)) is not None:
            yield render_table(sheet)
        return
    summary = tabulate_comparison(books)
    yield render_table(summary, rows=MOST_ROWS, compact=True)
    if summary.rows > MOST_ROWS:
        yield render_note(Note(f"{summary.rows - MOST_ROWS:,} more rows: --all, or the page.", "warn"))
    if not differences:
        yield render_note(
            Note(
                "No difference is given: no two models of one id, and no two runs of one model each, met equal attacks."
            )
        )
        return
    sure = sum(_excludes_zero(row) for row in differences)
    yield render_note(
        Note(f"{sure} of {len(differences)} differences have an interval that excludes 0 (--all lists them).")
    )


def _excludes_zero(row: Mapping[str, Any]) -> bool:
    low, high = row["difference_low"], row["difference_high"]
    return low is not None and bool(low > 0 or high < 0)


def list_incomparable(runs: Sequence[Run]) -> tuple[Note, ...]:
    """Return notes on runs whose figures cannot be compared: they have different data sets or different attacks."""
    first, found = runs[0], []
    for run in runs[1:]:
        counterparts = match_subjects(run, first)
        if not have_same_data(run, first):
            text = (
                f"{run.name} and {first.name} tested models on different data sets: their figures cannot be compared,"
            )
            found.append(Note(f"{text} and no difference is given.", "bad"))
        elif any(attack_strength(name, run) != attack_strength(other, first) for name, other in counterparts.items()):
            text = (
                f"{run.name} and {first.name} used different attacks or settings: their worst cases cannot be compared,"
            )
            found.append(Note(f"{text} and differences are given for equal attacks only.", "bad"))
    return tuple(found)


def tabulate_run_differences(differences: Iterable[Mapping[str, Any]]) -> Sheet | None:
    """Return a table of the differences between further runs and the first, with intervals; None without any."""
    rows = [row for row in differences if row["measure"] in ("clean", "attacked", "static", WORST_CASE)]
    if not rows:
        return None
    table = Sheet("Differences in accuracy, in percentage points")
    table.add_columns("run", "minus", "model", "measure", "attack")
    table.add_columns("difference [95 %]", "p (adjusted)", figures=True)
    table.add_columns("compared by")
    for row in rows:
        interval = format_with_interval(row, "difference")
        sure = _excludes_zero(row)
        p_value = format_p_value(row["p_adjusted"])
        under = row["attack"] or (describe_threat(row) if row["norm"] else None)
        tone: Tone = "" if not sure else "good" if row["difference"] > 0 else "bad"
        table.add_row(row["run"], row["against"], row["subject"], row["measure"], name_or_dash(under),
                      Cell(interval, tone=tone), p_value, "tile" if row["paired"] else "means")  # fmt: skip
    table.caption = (
        "Tile: both runs tested the same tiles, and the comparison is paired by tile. Means: they tested different "
        "tiles, and there is no p value. Colored: the interval excludes 0. "
        f"{METHOD} {DIFFERENCE_METHOD} {P_VALUE_METHOD}"
    )
    return table
