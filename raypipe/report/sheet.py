"""Tables as data: they are made once from a run's rows, and shown on a terminal and on a page."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

Tone = Literal["", "good", "bad", "warn", "dim"]


class Cell(NamedTuple):
    """The content of a table cell.

    Parameters
    ----------
    text
        Figure or name.
    below
        Fainter line below the text: an interval, or the meaning of the name.
    beside
        Fainter text after it: the figure that the paper reports.
    tone
        Kind of message, such as good, bad or faint; it determines the color.
    href
        Target of the link, on a page.
    kind
        Kind of the model that a row is about, on a page whose reader can filter by it.
    """

    text: str
    below: str = ""
    beside: str = ""
    tone: Tone = ""
    href: str = ""
    kind: str = ""

    @property
    def one_line(self) -> str:
        """Text of the cell on one line."""
        return " ".join(" ".join(filter(None, (self.text, self.beside, self.below))).split("\n"))


class Column(NamedTuple):
    """A column of a table.

    Parameters
    ----------
    heading
        Heading of the column.
    hint
        Explanation of the heading, which a page shows on request.
    figures
        True if its cells are figures.
    whole
        True if the lines of its cells must not be broken.
    """

    heading: str
    figures: bool = False
    whole: bool = False
    hint: str = ""

    @property
    def one_line(self) -> str:
        """The heading on one line."""
        return self.heading.replace("-\n", "-").replace("\n", " ")


@dataclass
class Sheet:
    """A table.

    Parameters
    ----------
    title
        Content of the table, and its unit.
    columns
        Columns from left to right.
    sections
        Rows, grouped into sections that belong together.
    caption
        Explanation that a reader needs.
    """

    title: str
    columns: list[Column] = field(default_factory=list)
    sections: list[list[tuple[Cell, ...]]] = field(default_factory=lambda: [[]])
    caption: str = ""

    def add_columns(self, *headings: str, figures: bool = False, whole: bool = False, hint: str = "") -> None:
        """Add columns of one kind."""
        self.columns += [Column(heading, figures, whole, hint) for heading in headings]

    def add_row(self, *cells: Cell | str) -> None:
        """Add a row with one cell per column.

        Raises
        ------
        ValueError
            If there are more or fewer cells than columns.
        """
        if len(cells) != len(self.columns):
            raise ValueError(f"{self.title}: {len(cells)} cells for {len(self.columns)} columns")
        self.sections[-1].append(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells))

    def add_section(self) -> None:
        """Start a new section for the rows that follow."""
        if self.sections[-1]:
            self.sections.append([])

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(map(len, self.sections))

    def as_dicts(self) -> list[dict[str, str]]:
        """Return the rows for other programs: the text of each cell, by the heading of its column on one line."""
        headings = [column.one_line for column in self.columns]
        return [
            {heading: cell.one_line for heading, cell in zip(headings, row, strict=True)} for row, _ in self.lines()
        ]

    def lines(self, most: int | None = None) -> Iterator[tuple[tuple[Cell, ...], bool]]:
        """Return an iterator over the rows, or the first `most` of them. Each comes with True if it ends a section."""
        every = ((row, row is section[-1]) for section in self.sections for row in section)
        return islice(every, most)


class Note(NamedTuple):
    """A sentence next to a table."""

    text: str
    tone: Tone = ""


class Section(NamedTuple):
    """A table and the reservations that must be shown with it."""

    sheet: Sheet
    notes: tuple[Note, ...] = ()
