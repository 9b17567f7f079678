"""Tables as data: made once from a run's rows, shown on a terminal and on a page."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

Tone = Literal["", "good", "bad", "warn", "dim"]


class Cell(NamedTuple):
    """What stands in a table.

    Parameters
    ----------
    text
        The figure or the name.
    below
        A line under it, fainter: an interval, or what the name stands for.
    beside
        After it, fainter: what the paper reports.
    tone
        Good or bad news, or nothing to see.
    href
        Where it leads, on a page.
    """

    text: str
    below: str = ""
    beside: str = ""
    tone: Tone = ""
    href: str = ""


class Column(NamedTuple):
    """A column: its heading, whether its cells are figures, and whether a cell's lines must not be broken."""

    heading: str
    figures: bool = False
    whole: bool = False


@dataclass
class Sheet:
    """A table.

    Parameters
    ----------
    title
        What it shows, and in which unit.
    columns
        From left to right.
    sections
        Rows that belong together.
    caption
        What a reader must know to read it.
    """

    title: str
    columns: list[Column] = field(default_factory=list)
    sections: list[list[tuple[Cell, ...]]] = field(default_factory=lambda: [[]])
    caption: str = ""

    def add_columns(self, *headings: str, figures: bool = False, whole: bool = False) -> None:
        """Add columns of one kind."""
        self.columns += [Column(heading, figures, whole) for heading in headings]

    def add_row(self, *cells: Cell | str) -> None:
        """Add a row, a cell for each column.

        Raises
        ------
        ValueError
            If there are more or fewer.
        """
        if len(cells) != len(self.columns):
            raise ValueError(f"{self.title}: {len(cells)} cells for {len(self.columns)} columns")
        self.sections[-1].append(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells))

    def add_section(self) -> None:
        """What follows belongs together."""
        if self.sections[-1]:
            self.sections.append([])

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(map(len, self.sections))

    def lines(self, most: int | None = None) -> Iterator[tuple[tuple[Cell, ...], bool]]:
        """The rows, or the first of them, and of each whether it ends a section."""
        every = ((row, row is section[-1]) for section in self.sections for row in section)
        return islice(every, most)


class Note(NamedTuple):
    """A sentence beside a table."""

    text: str
    tone: Tone = ""


class Section(NamedTuple):
    """A table and the reservations that must not be left out where it is shown."""

    sheet: Sheet
    notes: tuple[Note, ...] = ()
