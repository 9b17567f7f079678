"""Results of a run: all figures of its tables, which are computed from stored predictions alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from raypipe.evaluation.checks.gather import gather_evidence
from raypipe.evaluation.checks.rules import run_checks
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.candidates import compute_candidates
from raypipe.evaluation.results.certified import Proof, collect_proof, compute_certified
from raypipe.evaluation.results.corrupted import compute_corruptions
from raypipe.evaluation.results.curves import compute_curves
from raypipe.evaluation.results.differences import compute_differences
from raypipe.evaluation.results.external import compute_external
from raypipe.evaluation.results.outcomes import collect_examples, compute_outcomes
from raypipe.evaluation.results.overview import Model, compute_overview
from raypipe.evaluation.results.patterns import compute_universal
from raypipe.evaluation.results.queries import compute_queries
from raypipe.evaluation.results.records import compute_records
from raypipe.evaluation.results.run import Run, SubjectRecord, read_run
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
from raypipe.evaluation.results.trainings import compute_trainings
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


def compute_result(store: Store, run: Run) -> RunResult:
    """Compute all figures of a run and store them.

    Raises
    ------
    FileNotFoundError, ValueError
        If artifacts are missing or do not belong together.
    """
    artifacts = Artifacts(store)
    artifacts.read_ahead(run.pairings, run.cells)
    examples = {subject.id: collect_examples(subject, run, artifacts) for subject in run.subjects}
    outcomes = {subject.id: compute_outcomes(subject, run, artifacts, examples[subject.id]) for subject in run.subjects}
    proofs = {subject.id: collect_proof(subject, run, artifacts, examples[subject.id]) for subject in run.subjects}
    rows = {
        "records": [
            row
            for subject in run.subjects
            for row in compute_records(subject, run, artifacts, examples[subject.id], outcomes[subject.id])
        ],
        "curves": list(compute_curves(run, examples)),
        "differences": compute_differences(run, outcomes),
        "checks": [row for subject in run.subjects for row in _checks(subject, run, artifacts, proofs[subject.id])],
        "certified": [
            row
            for subject in run.subjects
            for row in compute_certified(subject, proofs[subject.id], examples[subject.id], run)
        ],
        "corruptions": list(compute_corruptions(run, artifacts)),
        "external": list(compute_external(run, artifacts)),
        "universal": list(compute_universal(run, artifacts)),
        "queries": list(compute_queries(run, artifacts)),
        "overview": list(
            compute_overview(
                {
                    subject.id: Model(subject, run, artifacts, examples[subject.id], outcomes[subject.id])
                    for subject in run.subjects
                }
            )
        ),
        "costs": list(_costs(run, artifacts)),
        "trainings": list(compute_trainings(run, store)),
        "candidates": list(compute_candidates(run, store)),
    }
    tables = {name: pa.Table.from_pylist(rows[name], schema=schema) for name, schema in TABLES.items()}
    for name, table in tables.items():
        store.write_table(f"runs/{run.name}/{name}.parquet", table)
    return RunResult(run.name, store.path(f"runs/{run.name}"), **tables)


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


def _costs(run: Run, artifacts: Artifacts) -> Iterator[dict[str, Any]]:
    for cell in run.cells:
        manifest = artifacts.manifest(cell.kind, cell.key) or {}
        about = cell.model_dump()
        yield {"cell": about.pop("name"), **about, **manifest.get("cost", {})}


def _checks(subject: SubjectRecord, run: Run, artifacts: Artifacts, proof: Proof | None) -> Iterator[dict[str, Any]]:
    if not run.diagnostics:
        return
    for check in run_checks(replace(gather_evidence(subject, run, artifacts), proof=proof)):
        row = check._asdict()
        yield {**subject.columns(), "check": row.pop("name"), **row}
