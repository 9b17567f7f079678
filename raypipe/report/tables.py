"""Tables of a run's results, for a terminal or a log."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raypipe.base.errors import ConfigError
from raypipe.base.settings import near_matches
from raypipe.evaluation.results.compute import RunResult
from raypipe.report.layout import Book
from raypipe.report.sections import named_sections, sections, verdicts
from raypipe.report.sheet import Cell, Note, Section, Sheet, Tone

STYLES: dict[Tone, str] = {"": "", "good": "green", "bad": "bold red", "warn": "yellow", "dim": "dim"}


def result_tables(result: RunResult) -> Iterator[RenderableType]:
    """Yield all tables of a run, each with the warnings that belong to its figures."""
    book = Book.from_result(result)
    yield Group(*map(line_of, verdicts(book)))
    for section in sections(book):
        yield section_of(section)


def result_table(result: RunResult, name: str) -> RenderableType:
    """Return one table of a run, with the warnings that belong to its figures.

    Raises
    ------
    raypipe.base.errors.ConfigError
        If the run has no table of this name; the message lists its tables.
    """
    found = dict(named_sections(Book.from_result(result)))
    if name not in found:
        raise ConfigError("--table", [f"{name}: expected one of {', '.join(found)}{near_matches(name, found)}"])
    return section_of(found[name])


def section_of(section: Section) -> RenderableType:
    """Return a table with its notes below it."""
    return Group(table_of(section.sheet), *map(line_of, section.notes))


def line_of(note: Note) -> Text:
    """Return a note as a styled line."""
    return Text(note.text, STYLES[note.tone] or "italic")


def table_of(sheet: Sheet, *, rows: int | None = None, compact: bool = False) -> RenderableType:
    """Return a table for a terminal, between its title and its caption.

    Parameters
    ----------
    rows
        Maximum number of rows; default: all.
    compact
        True for a table without outer blank lines and with one space between columns, which fits a small screen.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0 if compact else (0, 1), show_edge=not compact)
    for column in sheet.columns:
        table.add_column(
            column.heading,
            justify="right" if column.figures else "left",
            no_wrap=column.whole,
            overflow="ellipsis" if column.whole else "fold",
        )
    for row, ends_section in sheet.lines(rows):
        table.add_row(*map(text_of, row), end_section=ends_section)
    # Titles and captions of rich's tables are no wider than the table, which may be narrow.
    title, caption = Text(sheet.title, "italic"), Text(sheet.caption, "dim italic")
    return Group(*([title] if title else []), table, *([caption] if caption else []))


def text_of(cell: Cell) -> Text:
    """Return the content of a table cell as styled text."""
    parts: list[str | tuple[str, str]] = [(cell.text, STYLES[cell.tone])]
    if cell.beside:
        parts.append((f" {cell.beside}", "dim"))
    if cell.below:
        parts.append((f"\n{cell.below}", "dim"))
    return Text.assemble(*parts)
