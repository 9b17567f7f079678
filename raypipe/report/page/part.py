"""Content of a part of the report, of which the template makes a section of the page."""

from typing import NamedTuple

from raypipe.report.charts import Chart
from raypipe.report.figures.theme import Panel
from raypipe.report.heats import Heat
from raypipe.report.pictures import Picture
from raypipe.report.sheet import Note, Section, Sheet
from raypipe.report.strips import Strip

Charts = tuple[tuple[Chart, str], ...]
Heats = tuple[tuple[str, tuple[Heat, ...]], ...]


class Fold(NamedTuple):
    """Details that a reader opens on demand: heading, lead, charts with captions, drawings, matrices and tables."""

    id: str
    heading: str
    lead: str = ""
    charts: Charts = ()
    panels: tuple[Panel, ...] = ()
    heats: Heats = ()
    tables: tuple[Section, ...] = ()


class Part(NamedTuple):
    """A part of the page: its anchor, its name in the navigation, its heading, and its content."""

    id: str
    name: str
    heading: str
    lead: str = ""
    charts: Charts = ()
    tables: tuple[Section, ...] = ()
    notes: tuple[Note, ...] = ()
    pictures: tuple[Picture, ...] = ()
    folds: tuple[Fold, ...] = ()
    strips: tuple[Strip, ...] = ()


def list_tables(*sheets: Sheet | None) -> tuple[Section, ...]:
    """Return the tables that exist as sections without notes."""
    return tuple(Section(sheet) for sheet in sheets if sheet is not None)
