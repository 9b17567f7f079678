"""The figures of a model for other programs, each a name and a number."""

from collections.abc import Iterable, Iterator

from raypipe.evaluation.results.outcomes import WORST_CASE
from raypipe.report.layout import Row, describe_threat

FIGURES = ("accuracy", "accuracy_low", "accuracy_high", "cancer_called_benign", "benign_called_cancer",
           "calibration_error", "forwards", "backwards", "seconds")  # fmt: skip


def list_figures(rows: Iterable[Row]) -> Iterator[tuple[str, float]]:
    """Yield the figures in a model's rows: ``("adaptive/deepfool/accuracy", 0.5)``."""
    for row in rows:
        for figure in FIGURES:
            if row[figure] is not None:
                yield f"{_measure(row)}/{figure}", row[figure]


def _measure(row: Row) -> str:
    """Return the name of a row's measurement, in letters that every tracker accepts: ``worst case/linf 8 of 255``."""
    if row["protocol"] == WORST_CASE:
        name = f"{WORST_CASE}/{describe_threat(row).replace('<= ', '')}"
    else:
        name = "/".join(filter(None, (row["protocol"], row["attack"])))
        name += f" from {row['source']}" if row["protocol"] == "transfer" else ""
    return "".join(letter if letter.isalnum() or letter in "_-. :/" else "_" for letter in name)
