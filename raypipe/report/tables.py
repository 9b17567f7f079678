"""Tables of a run's results, for a terminal or a log."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from raypipe.base.errors import ConfigError
from raypipe.base.settings import suggest_matches
from raypipe.evaluation.results.result import RunResult
from raypipe.report.fitting_table import STYLES, render_table
from raypipe.report.layout import Book
from raypipe.report.sections import list_sections, list_warnings
from raypipe.report.sheet import Note, Section


def render_tables(result: RunResult) -> Iterator[RenderableType]:
    """Yield all tables of a run, each with the warnings that belong to its figures."""
    book = Book.from_result(result)
    yield Group(*map(render_note, list_warnings(book)))
    for _, section in list_sections(book):
        yield render_section(section)


def find_section(result: RunResult, name: str) -> Section:
    """Return one table of a run, with the warnings that belong to its figures.

    Raises
    ------
    raypipe.base.errors.ConfigError
        If the run has no table of this name; the message lists its tables.
    """
    found = dict(list_sections(Book.from_result(result)))
    if name not in found:
        raise ConfigError("--table", [f"{name}: expected one of {', '.join(found)}{suggest_matches(name, found)}"])
    return found[name]


def render_section(section: Section) -> RenderableType:
    """Return a table with its notes below it."""
    return Group(render_table(section.sheet), *map(render_note, section.notes))


def render_note(note: Note) -> Text:
    """Return a note as a styled line."""
    return Text(note.text, STYLES[note.tone] or "italic")
