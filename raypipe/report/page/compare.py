"""The page that compares runs side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from raypipe.evaluation.results.run import Run
from raypipe.report.charts import build_robustness_chart
from raypipe.report.compare import list_incomparable, tabulate_run_differences, tabulate_side_by_side
from raypipe.report.figures.curves import draw_curves_panel
from raypipe.report.layout import Book
from raypipe.report.page.render import render
from raypipe.report.sections import list_stamps
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
        Result of `raypipe.evaluation.results.across.compare_across`.
    """
    names = [run.name for run in runs]
    drawings = [
        (name, build_robustness_chart(book), draw_curves_panel(book, f"{name} curves")) for name, book in books.items()
    ]
    page = render(
        "compare",
        title=f"{' and '.join(names)}: raypipe comparison",
        names=names,
        stamps=tuple(dict.fromkeys(note for book in books.values() for note in list_stamps(book))),
        reservations=list_incomparable(runs),
        figures=tabulate_side_by_side(books),
        differences=tabulate_run_differences(differences),
        drawings=drawings,
    )
    path = f"comparisons/{'+'.join(names)}.html"
    store.write_bytes(path, page)
    return store.path(path)
