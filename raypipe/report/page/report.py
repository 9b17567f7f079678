"""The report of a run: one page, made from its records and its stored tiles alone, and its one-page summary."""

from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.result import RunResult
from raypipe.evaluation.results.run import Run
from raypipe.report.cells import HARDENED, UNDEFENDED, name_kind
from raypipe.report.charts import build_robustness_chart
from raypipe.report.findings import list_findings, list_limits
from raypipe.report.gallery import count_galleries_left_out, draw_galleries
from raypipe.report.glossary import GLOSSARY, find_section_terms
from raypipe.report.layout import Book
from raypipe.report.page.parts import list_parts
from raypipe.report.page.render import render
from raypipe.report.scope import describe_attacked_tiles, describe_test_tiles
from raypipe.report.sections import list_stamps
from raypipe.report.summary import conclude
from raypipe.storage.environment import read_environment
from raypipe.storage.store import Store

REPORT_FILE, SUMMARY_FILE = "report.html", "summary.html"
SHOWN = 6
"""Number of findings on the one-page summary."""
PICTURED = 3
"""Number of pictures on it."""


def write_report(run: Run, result: RunResult, store: Store, artifacts: Artifacts | None = None) -> str:
    """Write the report of a run and its one-page summary to its folder, and return the path of the report.

    Parameters
    ----------
    run, result, store
        The record and the results of the run, and its store.
    artifacts
        Reader of the store; default: a new one.

    Raises
    ------
    FileNotFoundError
        If artifacts or records of the run are missing.
    """
    book = Book.from_result(result)
    conclusion = conclude(book)
    pictured = tuple(draw_galleries(run, book, store, conclusion.subject, artifacts))
    parts = tuple(list_parts(book, run, store, conclusion.subject))
    folder = f"runs/{run.name}"
    contents = [
        ("summary", "Summary"),
        ("pictures", "Pictures"),
        *((part.id, part.name) for part in parts),
        ("reproduce", "Reproduce"),
        ("glossary", "Glossary"),
    ]
    kinds = {name_kind(book, subject) for subject in book.subjects}
    shared = {
        "run": run,
        "scope": _write_scope(book, run),
        "stamps": list_stamps(book),
        "conclusion": conclusion,
        "summary_chart": build_robustness_chart(book, conclusion.subject),
        "limits": tuple(list_limits(book, run)),
        "location": result.location,
    }
    page = render(
        "report",
        title=f"{run.name}: raypipe report",
        findings=list_findings(book),
        contents=contents,
        kinds=(HARDENED, UNDEFENDED) if len(kinds) > 1 else (),
        sections=parts,
        galleries=pictured,
        galleries_left_out=count_galleries_left_out(run),
        environment=read_environment(store, run.name),
        seeds=sorted({subject.seed for subject in run.subjects}),
        experiment=store.read_bytes(f"{folder}/experiment.yaml").decode(),
        terms=find_section_terms,
        glossary=GLOSSARY,
        storage=store.root,
        **shared,
    )
    pictures = [picture for gallery in pictured[:1] for picture in gallery.pictures]
    brief = render(
        "summary",
        title=f"{run.name}: raypipe summary",
        findings=list_findings(book)[:SHOWN],
        pictures=pictures[:PICTURED],
        **shared,
    )
    store.write_bytes(f"{folder}/{SUMMARY_FILE}", brief)
    store.write_bytes(f"{folder}/{REPORT_FILE}", page)
    return store.path(f"{folder}/{REPORT_FILE}")


def _write_scope(book: Book, run: Run) -> str:
    """Return a sentence on the models and tiles of the run."""
    count = len(book.subjects)
    hardened = sum(row["defense"] is not None for row in book.subjects.values())
    models = (
        f"{count} {'model' if count == 1 else 'models'}, {hardened} of them hardened"
        if hardened
        else f"{count} " + ("model" if count == 1 else "models")
    )
    data = f" Data: {run.data}." if run.data else ""
    return f"{models}; {len(run.labels)} classes; {describe_test_tiles(book)}; {describe_attacked_tiles(book)}.{data}"
