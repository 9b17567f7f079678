"""The end of a run: its record, its results and its report, written to the store."""

from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

from raypipe.data.source import Source
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.result import RunResult
from raypipe.evaluation.results.run import Run, write_run
from raypipe.plan.description import describe_run
from raypipe.plan.graph import Plan
from raypipe.report.page.index import write_index
from raypipe.report.page.report import write_report
from raypipe.storage.store import Store


class FinishedRun(NamedTuple):
    """A finished run: its record, its results, and the path of its report."""

    run: Run
    result: RunResult
    report: str


def finish_run(
    name: str,
    plan: Plan,
    source: Source,
    data: str,
    settings: dict[str, Any],
    store: Store,
    *,
    paper_tables: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> FinishedRun:
    """Write the record, the results and the report of a run whose cells are complete.

    Parameters
    ----------
    name
        Name of the run.
    plan
        Plan of the run.
    source, data
        The data set, and the name of its kind.
    settings
        All settings of the run, which reproduce it.
    store
        Store of the run.
    paper_tables
        Setting as in `raypipe.evaluation.results.run.Run`.
    say
        Called with the name of each step that takes time.
    """
    store.write_bytes(f"runs/{name}/experiment.yaml", yaml.safe_dump(settings, sort_keys=False).encode())
    run = describe_run(name, plan, source, data, store, paper_tables=paper_tables)
    write_run(store, run)
    say("computing the results")
    artifacts = Artifacts(store)
    result = compute_result(store, run, artifacts)
    say("drawing the report")
    report = write_report(run, result, store, artifacts)
    write_index(store)
    return FinishedRun(run, result, report)
