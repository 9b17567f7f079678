"""Laws that the figures of every run obey."""

from collections.abc import Iterable
from typing import Any

WORST_CASE = "worst case"


def require_worst_cases(records: Iterable[dict[str, Any]]) -> None:
    """Check that no stored set of tiles within a ball fools a model more often than the worst case in the ball."""
    rows = list(records)
    for subject in {row["subject"] for row in rows}:
        own = [row for row in rows if row["subject"] == subject]
        worst = [row for row in own if row["protocol"] == WORST_CASE]
        stored = [row for row in own if row["protocol"] != WORST_CASE and row["attack"]]
        assert bool(worst) == bool(stored)
        for case in worst:
            for row in (*stored, *worst):
                if case["norm"] == "any" or (row["norm"] == case["norm"] and (row["eps"] or 9e9) <= case["eps"]):
                    assert case["accuracy"] <= row["accuracy"], (subject, case["norm"], case["eps"], row["attack"])
