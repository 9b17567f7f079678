"""Results of a run: all figures of its tables, which are computed from stored predictions alone."""

from collections.abc import Iterator
from dataclasses import replace
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
from raypipe.evaluation.results.result import TABLES, RunResult
from raypipe.evaluation.results.run import Run, SubjectRecord
from raypipe.evaluation.results.trainings import compute_trainings
from raypipe.storage.store import Store


def compute_result(store: Store, run: Run, artifacts: Artifacts | None = None) -> RunResult:
    """Compute all figures of a run and store them.

    Parameters
    ----------
    store, run
        The store, and the record of the run.
    artifacts
        Reader of the store, which keeps what it reads for later users; default: a new one.

    Raises
    ------
    FileNotFoundError, ValueError
        If artifacts are missing or do not belong together.
    """
    artifacts = artifacts or Artifacts(store)
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
        "checks": [
            row for subject in run.subjects for row in _compute_checks(subject, run, artifacts, proofs[subject.id])
        ],
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
        "costs": list(_compute_costs(run, artifacts)),
        "trainings": list(compute_trainings(run, store)),
        "candidates": list(compute_candidates(run, store)),
    }
    tables = {name: pa.Table.from_pylist(rows[name], schema=schema) for name, schema in TABLES.items()}
    for name, table in tables.items():
        store.write_table(f"runs/{run.name}/{name}.parquet", table)
    return RunResult(run.name, store.path(f"runs/{run.name}"), **tables)


def _compute_costs(run: Run, artifacts: Artifacts) -> Iterator[dict[str, Any]]:
    for cell in run.cells:
        manifest = artifacts.manifest(cell.kind, cell.key) or {}
        about = cell.model_dump()
        yield {"cell": about.pop("name"), **about, **manifest.get("cost", {})}


def _compute_checks(
    subject: SubjectRecord, run: Run, artifacts: Artifacts, proof: Proof | None
) -> Iterator[dict[str, Any]]:
    if not run.diagnostics:
        return
    for check in run_checks(replace(gather_evidence(subject, run, artifacts), proof=proof)):
        row = check._asdict()
        yield {**subject.columns(), "check": row.pop("name"), **row}
