"""The page that compares runs side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from raypipe.evaluation.results.run import Run
from raypipe.report.charts import robustness_chart
from raypipe.report.compare import comparison_notes, differences_sheet, side_by_side
from raypipe.report.figures.curves import curves_panel
from raypipe.report.layout import Book
from raypipe.report.page.render import render
from raypipe.report.sections import stamps
from raypipe.storage.store import Store


def write_comparison(
    runs: Sequence[Run], books: Mapping[str, Book], differences: Sequence[Mapping[str, Any]], store: Store
) -> str:
    """Write the comparison of runs to the store, and return its path.

    Parameters
    ----------
    runs
        Records of the runs. The others are compared with the first one.
    books
        Rows of each run, by the name of the run.
    differences
        Result of `raypipe.evaluation.results.across.differences_across`.
    """
    names = [run.name for run in runs]
    drawings = [(name, robustness_chart(book), curves_panel(book, f"{name} curves")) for name, book in books.items()]
    page = render(
        "compare",
        title=f"{' and '.join(names)}: raypipe comparison",
        names=names,
        stamps=tuple(dict.fromkeys(note for book in books.values() for note in stamps(book))),
        reservations=comparison_notes(runs),
        figures=side_by_side(books),
        differences=differences_sheet(differences),
        drawings=drawings,
    )
    path = f"comparisons/{'+'.join(names)}.html"
    store.write_bytes(path, page)
    return store.path(path)
