"""A table for a terminal or a log, which becomes a list of its rows where it does not fit."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from raypipe.report.sheet import Cell, Sheet, Tone

STYLES: dict[Tone, str] = {"": "", "good": "green", "bad": "bold red", "warn": "yellow", "dim": "dim"}
LONGEST_WORD = 16
"""Number of letters up to which a word is not broken."""
MOST_LINES = 3
"""Number of lines that a longer word takes at most."""
UNBROKEN = 400
"""Number of columns above which a row takes one line, which other programs can search. No terminal is this wide."""


@dataclass(frozen=True)
class FittingTable:
    """The rows of a table, aligned in columns, or as a list if the terminal is too narrow.

    In the list, each row begins with its first cell. Each further cell has a line with the heading of its column.

    Parameters
    ----------
    sheet
        Content of the table.
    rows
        Maximum number of rows; None for all.
    compact
        True for a table without outer blank lines and with one space between columns, which fits a small screen.
    """

    sheet: Sheet
    rows: int | None = None
    compact: bool = False

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table or the list."""
        if options.max_width >= UNBROKEN:
            yield self._build_table(one_line=True)
        elif self._compute_least_width() <= options.max_width:
            yield self._build_table(one_line=False)
        else:
            yield from self._list()

    def _build_table(self, *, one_line: bool) -> Table:
        spaces = (0, 0 if self.compact else 1)
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=spaces, show_edge=not self.compact)
        for column in self.sheet.columns:
            table.add_column(
                column.one_line if one_line else column.heading,
                justify="right" if column.figures else "left",
                no_wrap=column.whole,
                overflow="ellipsis" if column.whole else "fold",
            )
        for cells, ends_section in self.sheet.lines(self.rows):
            texts = map(render_text, cells)
            table.add_row(*(map(join_lines, texts) if one_line else texts), end_section=ends_section)
        return table

    def _list(self) -> Iterator[Text]:
        for cells, _ in self.sheet.lines(self.rows):
            first, *others = (join_lines(render_text(cell)) for cell in cells)
            first.stylize("bold")
            yield first
            for column, text in zip_longest(self.sheet.columns[1:], others):
                if text.plain.strip():
                    yield Text.assemble(f"  {column.one_line}: ", text)

    def _compute_least_width(self) -> int:
        """Return the number of columns in which figures and short words stay whole."""
        widths = [0] * len(self.sheet.columns)
        for cells, _ in self.sheet.lines(self.rows):
            for place, (column, cell) in enumerate(zip(self.sheet.columns, cells, strict=True)):
                lines = [*column.heading.splitlines(), *render_text(cell).plain.splitlines()]
                longest = max(map(len, lines), default=0)
                words = max((len(word) for line in lines for word in line.split()), default=0)
                kept = min(words, max(LONGEST_WORD, -(-words // MOST_LINES)))
                widths[place] = max(widths[place], longest if column.figures or column.whole else kept)
        between, edges = (1, 0) if self.compact else (3, 2)
        return sum(widths) + between * (len(widths) - 1) + edges


def render_table(sheet: Sheet, *, rows: int | None = None, compact: bool = False) -> RenderableType:
    """Return a table for a terminal, between its title and its caption; see `FittingTable`."""
    # Titles and captions of rich's tables are no wider than the table, which may be narrow.
    title, caption = Text(sheet.title, "italic"), Text(sheet.caption, "dim italic")
    table = FittingTable(sheet, rows, compact)
    return Group(*([title] if title else []), table, *([caption] if caption else []))


def render_text(cell: Cell) -> Text:
    """Return the content of a table cell as styled text."""
    parts: list[str | tuple[str, str]] = [(cell.text, STYLES[cell.tone])]
    if cell.beside:
        parts.append((f" {cell.beside}", "dim"))
    if cell.below:
        parts.append((f"\n{cell.below}", "dim"))
    return Text.assemble(*parts)


def join_lines(text: Text) -> Text:
    """Return a text on one line."""
    return Text(" ").join(text.split("\n"))
