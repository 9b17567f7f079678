"""Parts of the report on what its figures rest on: the paper's tables, checks, evidence for regulators, and details."""

from collections.abc import Iterator

from raypipe.evaluation.results.run import Run
from raypipe.report.declaration import tabulate_declared_metrics, tabulate_digests
from raypipe.report.details import (
    tabulate_attack_costs,
    tabulate_calibration,
    tabulate_candidates,
    tabulate_cell_costs,
    tabulate_differences,
    tabulate_model_costs,
    tabulate_seeds,
    tabulate_stage_costs,
)
from raypipe.report.evidence import DISCLAIMER, list_untested, tabulate_evidence
from raypipe.report.figures.learning import draw_learning_panel
from raypipe.report.figures.reliability import draw_reliability_panel
from raypipe.report.heats import build_transfers
from raypipe.report.layout import Book
from raypipe.report.page.part import Fold, Part, list_tables
from raypipe.report.paper_tables import (
    COMPARED,
    PAPER,
    STATIC,
    build_table_1,
    build_table_2,
    build_table_3,
    describe_threats,
)
from raypipe.report.robustness import tabulate_failures
from raypipe.report.scope import describe_attacked_tiles, find_defects
from raypipe.report.sheet import Note, Section
from raypipe.report.threats import tabulate_threats
from raypipe.report.trust import tabulate_check_counts, tabulate_verdicts
from raypipe.storage.store import Store


def build_paper(book: Book, run: Run) -> Part:
    """Return the part of the paper's tables, with reported and measured figures."""
    tables = (
        Section(build_table_1(book), (Note(describe_threats(book)),)),
        Section(build_table_2(book), (Note(describe_threats(book)), Note(PAPER), Note(STATIC))),
        Section(build_table_3(book, run.data), (Note(COMPARED),)),
    )
    return Part("paper", "The paper's tables", "The paper's tables: reported and measured figures", tables=tables)


def build_trust(book: Book) -> Part:
    """Return the part of verdicts, sanity checks and defects of the run."""
    folds = Fold(
        "checks", "The sanity checks", tables=list_tables(tabulate_check_counts(book), tabulate_failures(book))
    )
    return Part(
        "trust",
        "Can this be trusted?",
        "Can this be trusted?",
        "Attacks that fail make any model look robust. Each sanity check tests a law that working attacks obey. If one "
        "fails, robust accuracy may be overestimated, and the model is not called robust.",
        tables=list_tables(tabulate_verdicts(book)),
        notes=tuple(find_defects(book)),
        folds=(folds,) if folds.tables else (),
    )


def build_evidence(book: Book, run: Run, store: Store) -> Part:
    """Return the part of evidence for regulators: by document, declared metrics, digests, and what was not tested."""
    tables = (tabulate_declared_metrics(book), tabulate_digests(run, store))
    return Part(
        "evidence",
        "Evidence",
        "Evidence for regulators",
        DISCLAIMER,
        notes=tuple(list_untested()),
        folds=(
            Fold("evidence-table", "What was measured, by document", tables=list_tables(tabulate_evidence(book))),
            Fold("declaration", "Declared metrics and digests", tables=list_tables(*tables)),
        ),
    )


def list_details(book: Book, run: Run, store: Store) -> Iterator[Fold]:
    """Yield the folds of details: transfer, calibration, differences, search, training, cost and threat models."""
    if matrices := tuple(build_transfers(book)):
        lead = (
            "Accuracy, in %, of the target model (row) on adversarial tiles made for the source model (column); "
            f"{describe_attacked_tiles(book)}."
        )
        yield Fold("transfer", "Transferability of adversarial examples", lead, heats=(("", matrices),))
    yield Fold(
        "calibration",
        "Calibration: does confidence match accuracy?",
        panels=(draw_reliability_panel(book),),
        tables=list_tables(tabulate_calibration(book)),
    )
    if tables := list_tables(tabulate_differences(book), tabulate_seeds(book)):
        yield Fold("differences", "Differences in accuracy", tables=tables)
    if tables := list_tables(tabulate_candidates(book)):
        yield Fold("search", "Search of settings: what was tried", tables=tables)
    if learned := draw_learning_panel(run, book, store):
        yield Fold("training", "Learning curves", panels=(learned,))
    costs = list_tables(
        tabulate_stage_costs(book), tabulate_model_costs(book), tabulate_attack_costs(book), tabulate_cell_costs(book)
    )
    if costs:
        yield Fold("cost", "Cost of the run", tables=costs)
    yield Fold("threats", "Threat models of all attacks", tables=list_tables(tabulate_threats(run)))
