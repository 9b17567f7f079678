"""Tables of a plan and of a run's results, for a terminal or a log."""

from collections import Counter
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raypipe.evaluation.results.compute import RunResult
from raypipe.experiment.schema import Experiment
from raypipe.plan.cells import unfinished
from raypipe.plan.graph import Plan
from raypipe.report.layout import Book
from raypipe.report.sections import sections, verdicts
from raypipe.report.sheet import Cell, Note, Sheet, Tone
from raypipe.storage.store import Store

ROWS = 100
"""Maximum number of rows of a table at the end of a run. A grid of hundreds of cells has more rows than anyone reads on
a terminal."""
STYLES: dict[Tone, str] = {"": "", "good": "green", "bad": "bold red", "warn": "yellow", "dim": "dim"}


def plan_table(experiment: Experiment, plan: Plan, store: Store) -> RenderableType:
    """Return a table of finished and missing cells, by stage."""
    sheet = Sheet(f"{experiment.name}: {len(plan.cells)} cells in {store.root}")
    sheet.add_columns("stage")
    sheet.add_columns("cells", "done", "to do", figures=True)
    to_do = Counter(cell.stage for cell in unfinished(plan.cells, store))
    for stage, count in Counter(cell.stage for cell in plan.cells).items():
        sheet.add_row(stage, str(count), str(count - to_do[stage]), str(to_do[stage]))
    return table_of(sheet)


def cells_table(plan: Plan, store: Store) -> RenderableType:
    """Return a table of every cell with its artifact."""
    sheet = Sheet("Cells")
    sheet.add_columns("stage", "cell", "artifact", "state")
    to_do = {cell.key for cell in unfinished(plan.cells, store)}
    for cell in plan.cells:
        state = Cell("to do", tone="warn") if cell.key in to_do else Cell("done", tone="good")
        sheet.add_row(cell.stage, cell.name, f"{cell.kind}/{cell.key}", state)
    return table_of(sheet)


def result_tables(result: RunResult, rows: int | None = None) -> Iterator[RenderableType]:
    """Yield all tables of a run, each with the warnings that belong to its figures.

    Parameters
    ----------
    rows
        Maximum number of rows per table; a line gives the number of rows left out. None shows all rows.
    """
    book = Book.from_result(result)
    yield Group(*map(line_of, verdicts(book)))
    for sheet, notes in sections(book):
        yield Group(table_of(sheet, rows), *map(line_of, (*_left_out(sheet, rows, result.name), *notes)))


def _left_out(sheet: Sheet, rows: int | None, run: str) -> Iterator[Note]:
    if rows is not None and sheet.rows > rows:
        command = f"`raypipe results {run} --all` with the run's --storage"
        yield Note(f"{sheet.rows - rows:,} more rows: see the report, or run {command}.", "warn")


def line_of(note: Note) -> Text:
    """Return a note as a styled line."""
    return Text(note.text, STYLES[note.tone] or "italic")


def table_of(sheet: Sheet, rows: int | None = None) -> Table:
    """Return a table for a terminal, with all rows or only the first ones."""
    table = Table(title=sheet.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in sheet.columns:
        table.add_column(
            column.heading,
            justify="right" if column.figures else "left",
            no_wrap=column.whole,
            overflow="ellipsis" if column.whole else "fold",
        )
    for row, ends_section in sheet.lines(rows):
        table.add_row(*map(text_of, row), end_section=ends_section)
    if sheet.caption:
        table.caption, table.caption_justify = sheet.caption, "left"
    return table


def text_of(cell: Cell) -> Text:
    """Return the content of a table cell as styled text."""
    parts: list[str | tuple[str, str]] = [(cell.text, STYLES[cell.tone])]
    if cell.beside:
        parts.append((f" {cell.beside}", "dim"))
    if cell.below:
        parts.append((f"\n{cell.below}", "dim"))
    return Text.assemble(*parts)
