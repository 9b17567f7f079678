"""The last screen of a run: its conclusion, one table, the place of its report, and what to do next."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from raypipe.evaluation.checks.rules import Verdict
from raypipe.report.fitting_table import render_table
from raypipe.report.layout import Book, Row
from raypipe.report.robustness import find_static, find_verdicts
from raypipe.report.scope import count_tiles, find_defects
from raypipe.report.sections import LEFT_OUT, list_sections, list_stamps
from raypipe.report.sheet import Cell, Note, Sheet
from raypipe.report.summary import conclude, find_direct
from raypipe.report.tables import render_note

MOST_ROWS = 18
"""Largest number of models on the screen; a screen has 40 lines."""
DEFAULT_STORAGE = "results"


def render_summary(book: Book) -> Iterator[RenderableType]:
    """Yield the conclusion of a run, its table of models, and the warnings that belong to them."""
    yield Text(" ".join(conclude(book).sentences), "bold")
    sheet = tabulate_summary(book)
    yield Group("", render_table(sheet, rows=MOST_ROWS, compact=True))
    if sheet.rows > MOST_ROWS:
        yield render_note(Note(f"{sheet.rows - MOST_ROWS:,} more models: --table robustness.", "warn"))
    verdicts = find_verdicts(book)
    failed = sum(bool(verdict.failed) for verdict in verdicts.values())
    if failed:
        text = (
            f"Sanity checks failed for {failed} of {len(verdicts)} models: their robust accuracy may be overestimated"
        )
        yield render_note(Note(f"{text} (--table failures).", "bad"))
    for note in (*find_defects(book), *list_stamps(book)):
        yield render_note(note)


def tabulate_summary(book: Book) -> Sheet:
    """Return one row for each model: clean, static, white-box and worst-case accuracy, and the sanity checks.

    The models that were hardened from one model stand below it.
    """
    verdicts = find_verdicts(book)
    scope = count_tiles(book.find_clean(next(iter(book.subjects))))
    bound = f"; worst case [95 %]: {book.headline}" if book.headline else ""
    table = Sheet(f"Accuracy in % on {scope}{bound}")
    table.add_columns("model")
    table.add_columns("clean", "static", "white-\nbox", "worst case", figures=True, whole=True)
    table.add_columns("checks", whole=True)
    for undefended, members in book.list_families().items():
        for subject in members:
            name = undefended if subject == undefended else f"  {book.describe_defense(subject)}"
            table.add_row(name, *format_summary(book, subject, verdicts.get(subject)))
    return table


def format_summary(book: Book, subject: str, verdict: Verdict | None) -> tuple[Cell | str, ...]:
    """Return a model's clean, static, white-box and worst-case accuracy, and the outcome of its sanity checks."""
    rows = book.find_clean(subject), find_static(book, subject), find_direct(book, subject)
    worst = format_whole_interval(book.find_headline_case(subject))
    return *map(format_whole_percent, rows), worst, format_checks(verdict)


def format_whole_percent(row: Row | None) -> str:
    """Return an accuracy in whole percent, or a dash where it was not measured."""
    return "-" if row is None else f"{100 * row['accuracy']:.0f}"


def format_whole_interval(row: Row | None) -> str:
    """Return an accuracy with its 95 % interval in whole percent: ``83 [65, 94]``."""
    if row is None or row["accuracy_low"] is None:
        return format_whole_percent(row)
    low, high = (100 * row[f"accuracy_{bound}"] for bound in ("low", "high"))
    return f"{format_whole_percent(row)} [{low:.0f}, {high:.0f}]"


def format_checks(verdict: Verdict | None) -> Cell:
    """Return a cell with the outcome of a model's sanity checks."""
    if verdict is None:
        return Cell("not run", tone="bad")
    if verdict.failed:
        return Cell(f"{verdict.failed} failed", tone="bad")
    return Cell("unclear", tone="warn") if verdict.withheld else Cell("passed", tone="good")


def render_run(book: Book, *, run: str, storage: str, folder: str, report: str) -> Iterator[RenderableType]:
    """Yield the last screen of a run.

    Parameters
    ----------
    run, storage
        Name of the run, and its storage as the experiment names it.
    folder, report
        Paths of the results and of the report.
    """
    yield from render_summary(book)
    yield _describe_places(run, storage, folder, report)
    yield Text(
        "  your model:  raypipe evaluate MODEL FOLDER --out NEW_FOLDER\n"
        "  your data:   data: {source: folder, path: FOLDER} in the experiment file"
    )


def render_evaluation(book: Book, *, run: str, storage: str, folder: str, report: str) -> Iterator[RenderableType]:
    """Yield the last screen of the evaluation of one model; the arguments are those of `render_run`."""
    yield from render_summary(book)
    yield render_note(Note(LEFT_OUT))
    yield _describe_places(run, storage, folder, report)


def _describe_places(run: str, storage: str, folder: str, report: str) -> Text:
    """Return the places of the results and the report, and the commands that show them."""
    option = "" if storage == DEFAULT_STORAGE else f" --storage {storage}"
    return Text(
        f"\nResults: {folder}\nReport: {report}\n"
        f"  open it:     raypipe report {run} --open{option}\n"
        f"  all tables:  raypipe results {run} --all{option}"
    )


def render_results(book: Book) -> Iterator[RenderableType]:
    """Yield the summary of a stored run, and the names of its further tables."""
    yield from render_summary(book)
    names = ", ".join(name for name, _ in list_sections(book))
    yield Text(f"\nEvery table: --all. One of them: --table {names}.")
