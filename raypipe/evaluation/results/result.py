"""The stored results of a run: its tables, read and written without PyTorch."""

import json
from dataclasses import dataclass

import pyarrow as pa

from raypipe.evaluation.results.run import read_run
from raypipe.evaluation.results.schemas import (
    CANDIDATES,
    CERTIFIED,
    CHECKS,
    CORRUPTIONS,
    COSTS,
    CURVES,
    DIFFERENCES,
    EXTERNAL,
    OVERVIEW,
    QUERIES,
    RESULTS,
    TRAININGS,
    UNIVERSAL,
)
from raypipe.storage.store import Store


@dataclass(frozen=True)
class RunResult:
    """The results of a run.

    Parameters
    ----------
    name
        Name of the run.
    location
        Folder of its files.
    records, curves, differences, checks, certified, costs, trainings, candidates
        Tables `raypipe.evaluation.results.schemas.RESULTS`, `CURVES`, `DIFFERENCES`, `CHECKS`, `CERTIFIED`, `COSTS`,
        `TRAININGS` and `CANDIDATES`.
    corruptions, external, universal, queries, overview
        Tables `raypipe.evaluation.results.schemas.CORRUPTIONS`, `EXTERNAL`, `UNIVERSAL`, `QUERIES` and `OVERVIEW`.
    """

    name: str
    location: str
    records: pa.Table
    curves: pa.Table
    differences: pa.Table
    checks: pa.Table
    certified: pa.Table
    corruptions: pa.Table
    external: pa.Table
    universal: pa.Table
    queries: pa.Table
    overview: pa.Table
    costs: pa.Table
    trainings: pa.Table
    candidates: pa.Table


TABLES = {
    "records": RESULTS,
    "curves": CURVES,
    "differences": DIFFERENCES,
    "checks": CHECKS,
    "certified": CERTIFIED,
    "corruptions": CORRUPTIONS,
    "external": EXTERNAL,
    "universal": UNIVERSAL,
    "queries": QUERIES,
    "overview": OVERVIEW,
    "costs": COSTS,
    "trainings": TRAININGS,
    "candidates": CANDIDATES,
}
"""The schemas of a run's tables. Each table is a Parquet file of that name in the run's folder."""


def load_result(store: Store, name: str) -> RunResult:
    """Load the results of an earlier run; compute them again if an older raypipe stored fewer columns.

    Raises
    ------
    FileNotFoundError
        If there is no run of that name. The message lists the existing runs.
    raypipe.storage.errors.StoreError
        If a newer raypipe wrote the run, or the run is damaged.
    """
    run = read_run(store, name)
    if not is_current(store, name):
        from raypipe.evaluation.results.compute import compute_result  # noqa: PLC0415  it imports PyTorch: seconds

        return compute_result(store, run)
    paths = {table: f"runs/{name}/{table}.parquet" for table in TABLES}
    tables = {table: store.read_table(path, schema=TABLES[table]) for table, path in paths.items()}
    return RunResult(name, store.path(f"runs/{name}"), **tables)


def is_current(store: Store, name: str) -> bool:
    """Return True if a run has every table with every column. An older raypipe stored fewer."""
    paths = {f"runs/{name}/{table}.parquet": schema for table, schema in TABLES.items()}
    return all(
        store.exists(path) and set(schema.names) <= set(store.read_schema(path).names) for path, schema in paths.items()
    )


def serialize_result(result: RunResult) -> str:
    """Return a result as JSON: its tables as lists of records, with undefined figures as null."""
    tables = {table: getattr(result, table).to_pylist() for table in TABLES}
    return json.dumps({"name": result.name, "location": result.location, **tables}, indent=1) + "\n"
