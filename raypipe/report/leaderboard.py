"""All models of all runs of a store, those that withstand most first."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pyarrow as pa

from raypipe.evaluation.outcomes import WORST_CASE
from raypipe.evaluation.run import ITSELF, RUN_FILE, read_run
from raypipe.report.layout import interval_cell, threat, verdict_cell
from raypipe.report.sheet import Cell, Sheet
from raypipe.schemas import CHECKS, RESULTS
from raypipe.store import Store

RECORDS = [
    "subject", "model", "defense", "hardened_on", "protocol", "role", "attack", "norm", "eps", "tiles", "stamps",
    "accuracy", "accuracy_low", "accuracy_high",
]  # fmt: skip
READERS = 16
"""Runs read at once: an object store answers each after a while."""
RADII = 4
"""Worst cases to show: without a bound, and the radii that most models have."""


class Standing(NamedTuple):
    """A model of a run: its row of clean tiles, the lowest under each protocol, its worst cases, its failed checks."""

    run: str
    clean: dict[str, Any]
    static: dict[str, Any] | None
    anew: dict[str, Any] | None
    worst: dict[str, dict[str, Any]]
    failed: int | None


def leaderboard(store: Store) -> Sheet:
    """One row for each model: worst case first, those whose checks failed last.

    Runs that have not finished yet are left out.
    """
    standings = list(_standings(store))
    common: dict[str, int] = {}
    for standing in standings:
        for radius in standing.worst:
            common[radius] = common.get(radius, 0) + 1
    radii = sorted(common, key=lambda radius: -common[radius])[:RADII]
    table = Sheet("Models. Accuracy and its 95 % interval, in %")
    table.add_columns("model", "run")
    table.add_columns(
        *(f"worst case\n{radius}" for radius in radii),
        "attacked\nanew",
        "static\n(paper)",
        "clean",
        "tiles",
        figures=True,
    )
    table.add_columns("checks", "stamps")

    def strength(standing: Standing) -> tuple[object, ...]:
        found = [standing.worst[radius]["accuracy"] if radius in standing.worst else -1.0 for radius in radii]
        return standing.failed == 0, sum(found), standing.clean["accuracy"]

    for standing in sorted(standings, key=strength, reverse=True):
        row = standing.clean
        kind = ", ".join(filter(None, (row["defense"], row["hardened_on"]))) or "undefended"
        stamps = ", ".join(stamp.partition(":")[0] for stamp in row["stamps"])
        figures = [*(standing.worst.get(radius) for radius in radii), standing.anew, standing.static, row]
        table.add_row(
            Cell(row["model"], below=kind),
            Cell(standing.run, href=f"runs/{standing.run}/report.html"),
            *map(interval_cell, figures),
            str(row["tiles"]),
            verdict_cell(standing.failed),
            Cell(stamps, tone="bad"),
        )
    return table


def _standings(store: Store) -> Iterator[Standing]:
    with ThreadPoolExecutor(READERS) as readers:
        for found in readers.map(lambda run: _read(run, store), store.list_directories("runs")):
            if found:
                yield from _of_run(*found)


def _read(run: str, store: Store) -> tuple[str, pa.Table, pa.Table] | None:
    """A run's name, records and checks; None as long as it has not finished."""
    if not {RUN_FILE, "records.parquet", "checks.parquet"} <= set(store.list_files(f"runs/{run}")):
        return None
    read_run(store, run)  # which refuses what a newer raypipe wrote
    checks = store.read_table(f"runs/{run}/checks.parquet", ["subject", "verdict"], CHECKS)
    return run, store.read_table(f"runs/{run}/records.parquet", RECORDS, RESULTS), checks


def _of_run(run: str, records: pa.Table, checks: pa.Table) -> Iterator[Standing]:
    verdicts: dict[str, list[str]] = {}
    for check in checks.to_pylist():
        verdicts.setdefault(check["subject"], []).append(check["verdict"])
    by_subject: dict[str, list[dict[str, Any]]] = {}
    for row in records.to_pylist():
        by_subject.setdefault(row["subject"], []).append(row)
    for subject, rows in by_subject.items():
        clean = next(row for row in rows if row["protocol"] == "clean")
        counted = [row for row in rows if row["role"] in ("grid", "evaluation") and row["attack"]]
        if clean["hardened_on"]:
            counted = [row for row in counted if row["attack"] == clean["hardened_on"]]
        lowest = {
            name: min(
                (row for row in counted if row["protocol"] in protocols), key=lambda row: row["accuracy"], default=None
            )
            for name, protocols in {"static": ("static",), "anew": ITSELF}.items()
        }
        worst = {threat(row): row for row in rows if row["protocol"] == WORST_CASE}
        failed = verdicts[subject].count("fail") if subject in verdicts else None
        yield Standing(run, clean, lowest["static"], lowest["anew"], worst, failed)
