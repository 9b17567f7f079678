"""Parts of the report between the pictures and the page's end: most important first, details folded away."""

from collections.abc import Iterator

from raypipe.evaluation.results.run import Run
from raypipe.report.external import tabulate_external
from raypipe.report.layout import Book
from raypipe.report.overview import tabulate_overview
from raypipe.report.page.accuracy_parts import build_accuracy, build_clinical
from raypipe.report.page.evidence_parts import build_evidence, build_paper, build_trust, list_details
from raypipe.report.page.part import Part
from raypipe.report.page.threat_parts import build_external, build_overview, build_shifts, build_universal
from raypipe.storage.store import Store


def list_parts(book: Book, run: Run, store: Store, subject: str) -> Iterator[Part]:
    """Yield the parts of a run's report.

    Parameters
    ----------
    subject
        Id of the model that the summary is about.
    """
    yield build_clinical(book, subject)
    yield build_accuracy(book)
    if overview := tabulate_overview(book):
        yield build_overview(book, overview)
    if book.corruptions:
        yield build_shifts(book, run, store, subject)
    if external := tabulate_external(book):
        yield build_external(book, external)
    if book.universal:
        yield build_universal(book, run, store)
    if run.paper_tables:
        yield build_paper(book, run)
    yield build_trust(book)
    yield build_evidence(book, run, store)
    yield Part("details", "Details", "Details", folds=tuple(list_details(book, run, store)))
