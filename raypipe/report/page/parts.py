"""Parts of the report between the pictures and the page's end: most important first, details folded away."""

from collections.abc import Iterator
from typing import NamedTuple

from raypipe.evaluation.results.run import Run
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.charts import Chart, build_recall_chart, build_robustness_chart
from raypipe.report.corruptions import build_corruptions_heat, tabulate_corruptions
from raypipe.report.declaration import tabulate_declared_metrics, tabulate_digests
from raypipe.report.details import (
    tabulate_attack_costs,
    tabulate_calibration,
    tabulate_candidates,
    tabulate_cell_costs,
    tabulate_differences,
    tabulate_distortions,
    tabulate_model_costs,
    tabulate_seeds,
    tabulate_stage_costs,
)
from raypipe.report.evidence import DISCLAIMER, list_untested, tabulate_evidence
from raypipe.report.external import list_external_reservations, tabulate_external, tabulate_external_classes
from raypipe.report.figures.curves import draw_curves_panel, draw_distortions_panel
from raypipe.report.figures.frontier import draw_frontier_panel
from raypipe.report.figures.learning import draw_learning_panel
from raypipe.report.figures.overview import draw_overview_panel
from raypipe.report.figures.queries import draw_queries_panel
from raypipe.report.figures.reliability import draw_reliability_panel
from raypipe.report.figures.theme import Panel
from raypipe.report.frontier import list_unequal_costs, tabulate_frontier
from raypipe.report.heats import Heat, build_confusions, build_transfers
from raypipe.report.layout import Book
from raypipe.report.overview import describe_hardened, tabulate_overview, tabulate_overview_differences
from raypipe.report.paper_tables import (
    COMPARED,
    PAPER,
    STATIC,
    build_table_1,
    build_table_2,
    build_table_3,
    describe_threats,
)
from raypipe.report.pictures import Picture
from raypipe.report.queries import tabulate_queries
from raypipe.report.robustness import (
    tabulate_attacks,
    tabulate_certified,
    tabulate_clinical_errors,
    tabulate_failures,
    tabulate_robustness,
)
from raypipe.report.scope import describe_attacked_tiles, find_defects
from raypipe.report.sheet import Note, Section, Sheet
from raypipe.report.strips import Strip, draw_corruption_strips
from raypipe.report.threats import tabulate_threats
from raypipe.report.trust import tabulate_check_counts, tabulate_verdicts
from raypipe.report.universal import (
    build_universal_heat,
    draw_patterns,
    tabulate_universal,
    tabulate_universal_transfer,
)
from raypipe.storage.store import Store

STATIC_LEAD = (
    "High accuracy in static evaluation does not show robustness, because those adversarial tiles were made for the "
    "undefended model. Compare it with the accuracy of the hardened model when it is attacked directly."
)
Charts = tuple[tuple[Chart, str], ...]
Heats = tuple[tuple[str, tuple[Heat, ...]], ...]


class Fold(NamedTuple):
    """Details that a reader opens on demand: heading, lead, charts with captions, drawings, matrices and tables."""

    id: str
    heading: str
    lead: str = ""
    charts: Charts = ()
    panels: tuple[Panel, ...] = ()
    heats: Heats = ()
    tables: tuple[Section, ...] = ()


class Part(NamedTuple):
    """A part of the page: its anchor, its name in the navigation, its heading, and its content."""

    id: str
    name: str
    heading: str
    lead: str = ""
    charts: Charts = ()
    tables: tuple[Section, ...] = ()
    notes: tuple[Note, ...] = ()
    pictures: tuple[Picture, ...] = ()
    folds: tuple[Fold, ...] = ()
    strips: tuple[Strip, ...] = ()


def list_parts(book: Book, run: Run, store: Store, subject: str) -> Iterator[Part]:
    """Yield the parts of a run's report.

    Parameters
    ----------
    subject
        Id of the model that the summary is about.
    """
    yield _build_clinical(book, subject)
    yield _build_accuracy(book)
    if overview := tabulate_overview(book):
        yield _build_overview(book, overview)
    if book.corruptions:
        yield _build_shifts(book, run, store, subject)
    if external := tabulate_external(book):
        yield _build_external(book, external)
    if book.universal:
        yield _build_universal(book, run, store)
    if run.paper_tables:
        yield _build_paper(book, run)
    yield _build_trust(book)
    yield _build_evidence(book, run, store)
    yield Part("details", "Details", "Details", folds=tuple(_list_details(book, run, store)))


def _build_clinical(book: Book, subject: str) -> Part:
    caption = (
        "Recall of each class: the share of its tiles that the model classifies correctly; a dash marks a class "
        f"without tiles; {describe_attacked_tiles(book)}. {METHOD}"
    )
    others = tuple((build_recall_chart(book, other), "") for other in book.subjects if other != subject)
    recalls = Fold("recalls", "Recall of each class by the other models", caption, charts=others)
    matrices: Heats = tuple((f"{each.model} under {each.attack}", each.heats) for each in build_confusions(book))
    rows = "Rows: true class; columns: predicted class. Numbers: tiles; colors: shares of the row."
    folds = [recalls] if others else []
    folds += (
        [Fold("confusions", "Confusion matrices, clean and under attack", rows, heats=matrices)] if matrices else []
    )
    clinical = tabulate_clinical_errors(book)
    lead = (
        "Which classes are cancer is unknown, so missed cancers and false alarms are not counted. A data source with "
        "the setting `malignant` names them."
        if clinical is None
        else "A missed cancer is a cancer tile called benign. A false alarm is a benign tile called cancer."
    )
    return Part(
        "clinical",
        "Clinical errors" if clinical else "Errors by class",
        "Clinical errors and errors by class" if clinical else "Errors by class",
        lead,
        ((build_recall_chart(book, subject), caption),),
        _list_tables(clinical),
        folds=tuple(folds),
    )


def _build_accuracy(book: Book) -> Part:
    caption = (
        "Accuracy in %, on the same tiles in every bar. Worst case: a tile counts as correct "
        f"only if no attack fools the model on it. {METHOD}"
    )
    panels = (draw_curves_panel(book), draw_distortions_panel(book))
    compared, frontier = tabulate_frontier(book), draw_frontier_panel(book)
    folds = [Fold("attacks", "Every model under every attack", tables=_list_tables(tabulate_attacks(book)))]
    if compared and frontier:
        costs = Section(compared, tuple(list_unequal_costs(book)))
        folds.append(
            Fold(
                "frontier",
                "Clean against robust accuracy, and the cost of training",
                panels=(frontier,),
                tables=(costs,),
            )
        )
    folds.append(
        Fold(
            "curves",
            "Accuracy by size of the perturbation",
            panels=tuple(panel for panel in panels if panel is not None),
            tables=_list_tables(tabulate_distortions(book)),
        )
    )
    if (queried := draw_queries_panel(book)) is not None:
        folds.append(
            Fold(
                "queries",
                "Accuracy by number of queries",
                panels=(queried,),
                tables=_list_tables(tabulate_queries(book)),
            )
        )
    return Part(
        "accuracy",
        "Accuracy under attack",
        "Accuracy, clean and under attack",
        STATIC_LEAD if any(row["defense"] for row in book.subjects.values()) else "",
        ((build_robustness_chart(book), caption),),
        _list_tables(tabulate_robustness(book), tabulate_certified(book)),
        folds=tuple(folds),
    )


def _build_overview(book: Book, table: Sheet) -> Part:
    panel = draw_overview_panel(book)
    folds = [Fold("overview-figure", "All threats as a figure", panels=(panel,) if panel else ())]
    if differences := tabulate_overview_differences(book):
        folds.append(
            Fold(
                "overview-differences",
                "What hardening buys and costs, threat by threat",
                tables=_list_tables(differences),
            )
        )
    return Part(
        "overview",
        "All threats",
        "All threats in one view",
        "What each defense buys, and what it costs: a defense against attacks in a ball may help or hurt elsewhere.",
        tables=(Section(table, tuple(describe_hardened(book))),),
        folds=tuple(folds),
    )


def _build_shifts(book: Book, run: Run, store: Store, subject: str) -> Part:
    heat = build_corruptions_heat(book)
    folds = (
        [
            Fold(
                "corruptions",
                "Every model under every corruption",
                "Accuracy, in %, of each model (row) under each corruption (column), mean over severities.",
                heats=(("", (heat,)),),
            )
        ]
        if heat
        else []
    )
    return Part(
        "shifts",
        "Natural changes",
        "Accuracy under natural changes of the tiles",
        "Stains, scanners, slides and files differ between laboratories. No attacker chooses these changes.",
        tables=_list_tables(tabulate_corruptions(book)),
        folds=tuple(folds),
        strips=tuple(draw_corruption_strips(run, book, store, subject)),
    )


def _build_external(book: Book, table: Sheet) -> Part:
    classes = Fold("external-classes", "Recall by class", tables=_list_tables(tabulate_external_classes(book)))
    return Part(
        "external",
        "Other hospitals",
        "Accuracy on external test sets",
        "These tiles come from elsewhere, and no model was trained on them. Their classes are mapped to the run's.",
        tables=(Section(table, tuple(list_external_reservations(book))),),
        folds=(classes,),
    )


def _build_universal(book: Book, run: Run, store: Store) -> Part:
    heat = build_universal_heat(book)
    lead = "Accuracy, in %, of the model (row) on tiles with the pattern that was made for another model (column)."
    transfer = Fold(
        "universal-transfer",
        "Transfer of the patterns between models",
        lead,
        heats=(("", (heat,)),) if heat else (),
        tables=_list_tables(tabulate_universal_transfer(book)),
    )
    return Part(
        "universal",
        "Universal perturbation",
        "Accuracy with one pattern for all tiles",
        "The attacker adds the same pattern to every tile, and needs no access to the model once it is made. Each "
        "picture shows a test tile without and with the pattern, and the pattern itself, amplified as stated below it.",
        tables=_list_tables(tabulate_universal(book)),
        pictures=tuple(draw_patterns(run, book, store)),
        folds=(transfer,) if heat else (),
    )


def _build_paper(book: Book, run: Run) -> Part:
    tables = (
        Section(build_table_1(book), (Note(describe_threats(book)),)),
        Section(build_table_2(book), (Note(describe_threats(book)), Note(PAPER), Note(STATIC))),
        Section(build_table_3(book, run.data), (Note(COMPARED),)),
    )
    return Part("paper", "The paper's tables", "The paper's tables: reported and measured figures", tables=tables)


def _build_trust(book: Book) -> Part:
    folds = Fold(
        "checks", "The sanity checks", tables=_list_tables(tabulate_check_counts(book), tabulate_failures(book))
    )
    return Part(
        "trust",
        "Can this be trusted?",
        "Can this be trusted?",
        "Attacks that fail make any model look robust. Each sanity check tests a law that working attacks obey. If one "
        "fails, robust accuracy may be overestimated, and the model is not called robust.",
        tables=_list_tables(tabulate_verdicts(book)),
        notes=tuple(find_defects(book)),
        folds=(folds,) if folds.tables else (),
    )


def _build_evidence(book: Book, run: Run, store: Store) -> Part:
    tables = (tabulate_declared_metrics(book), tabulate_digests(run, store))
    return Part(
        "evidence",
        "Evidence",
        "Evidence for regulators",
        DISCLAIMER,
        notes=tuple(list_untested()),
        folds=(
            Fold("evidence-table", "What was measured, by document", tables=_list_tables(tabulate_evidence(book))),
            Fold("declaration", "Declared metrics and digests", tables=_list_tables(*tables)),
        ),
    )


def _list_details(book: Book, run: Run, store: Store) -> Iterator[Fold]:
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
        tables=_list_tables(tabulate_calibration(book)),
    )
    if tables := _list_tables(tabulate_differences(book), tabulate_seeds(book)):
        yield Fold("differences", "Differences in accuracy", tables=tables)
    if tables := _list_tables(tabulate_candidates(book)):
        yield Fold("search", "Search of settings: what was tried", tables=tables)
    if learned := draw_learning_panel(run, book, store):
        yield Fold("training", "Learning curves", panels=(learned,))
    costs = _list_tables(
        tabulate_stage_costs(book), tabulate_model_costs(book), tabulate_attack_costs(book), tabulate_cell_costs(book)
    )
    if costs:
        yield Fold("cost", "Cost of the run", tables=costs)
    yield Fold("threats", "Threat models of all attacks", tables=_list_tables(tabulate_threats(run)))


def _list_tables(*sheets: Sheet | None) -> tuple[Section, ...]:
    return tuple(Section(sheet) for sheet in sheets if sheet is not None)
