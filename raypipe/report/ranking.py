"""Choice of the best model, if there is one, from figures of the same tiles, threat model and attacks."""

from collections.abc import Iterable

from raypipe.evaluation.checks.rules import Verdict
from raypipe.report.layout import Row

RULE = (
    "A model is called best only if no check of its evaluation failed, enough checks were judged, its worst case is "
    "above always predicting the most frequent class, and its interval lies above that of every other such model. "
    "Where intervals overlap, no model is best."
)


def may_be_best(row: Row, verdict: Verdict | None) -> bool:
    """Return True if a model may be called best for a robust accuracy.

    It must have been checked, with no verdict withheld, and its accuracy must be above chance.
    """
    return verdict is not None and not verdict.withheld and row["accuracy"] > row["chance"]


def find_winner(rows: Iterable[Row]) -> Row | None:
    """Return the record whose interval lies above all others; None if there is a tie.

    Parameters
    ----------
    rows
        Records of the same tiles, under the same threat model and attacks.
    """
    ordered = sorted(rows, key=lambda row: row["accuracy"], reverse=True)
    if not ordered or any(overlap(ordered[0], other) for other in ordered[1:]):
        return None
    return ordered[0]


def overlap(row: Row, other: Row) -> bool:
    """Return True if the intervals of two accuracies have a point in common, or if one accuracy has no interval."""
    if row["accuracy_low"] is None or other["accuracy_low"] is None:
        return True
    return bool(row["accuracy_low"] <= other["accuracy_high"] and other["accuracy_low"] <= row["accuracy_high"])
