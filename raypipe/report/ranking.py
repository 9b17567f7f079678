"""Choice of the best model, if there is one, from figures of the same tiles, threat model and attacks."""

from collections.abc import Iterable

from raypipe.evaluation.checks.rules import Verdict
from raypipe.report.layout import Row

RULE = (
    "A model is called best only if no check of its evaluation failed, enough checks were judged, the "
    "interval of its worst case lies above the accuracy of always predicting the most frequent class, and above that "
    "of every other such model. "
    "Where intervals overlap, no model is best."
)


def may_be_best(row: Row, verdict: Verdict | None) -> bool:
    """Return True if a model may be called best for a robust accuracy.

    It must have been checked, with no verdict withheld, and its accuracy must be shown above chance.
    """
    return verdict is not None and not verdict.withheld and is_above_chance(row)


def is_above_chance(row: Row) -> bool:
    """Return True if an accuracy is shown above that of always predicting the most frequent class.

    Its interval must lie above, or the accuracy itself if there is no interval.
    """
    low = row["accuracy_low"]
    return bool(row["accuracy"] > row["chance"] if low is None else low > row["chance"])


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
