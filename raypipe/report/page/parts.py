"""Parts of the report between the pictures and the page's end: most important first, details folded away."""

from collections.abc import Iterator
from typing import NamedTuple

from raypipe.evaluation.results.run import Run
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.charts import Chart, recall_chart, robustness_chart
from raypipe.report.corruptions import corruptions_heat, corruptions_table
from raypipe.report.declaration import declared_metrics_table, digests_table
from raypipe.report.details import (
    calibration_table,
    candidates_table,
    cell_costs_table,
    cost_table,
    differences_table,
    distortions_table,
    model_costs_table,
    seeds_table,
    stage_costs_table,
)
from raypipe.report.evidence import DISCLAIMER, evidence_notes, evidence_table
from raypipe.report.external import external_classes_table, external_notes, external_table
from raypipe.report.figures.curves import curves_panel, distortions_panel
from raypipe.report.figures.frontier import frontier_panel
from raypipe.report.figures.learning import learning_panel
from raypipe.report.figures.overview import overview_panel
from raypipe.report.figures.queries import queries_panel
from raypipe.report.figures.reliability import reliability_panel
from raypipe.report.figures.theme import Panel
from raypipe.report.frontier import frontier_table, list_unequal_costs
from raypipe.report.heats import Heat, confusions, transfers
from raypipe.report.layout import Book
from raypipe.report.overview import overview_notes, overview_table
from raypipe.report.paper_tables import COMPARED, PAPER, STATIC, table_1, table_2, table_3, threats
from raypipe.report.pictures import Picture
from raypipe.report.queries import queries_table
from raypipe.report.robustness import (
    attacks_table,
    certified_table,
    clinical_errors_table,
    failures_table,
    robustness_table,
)
from raypipe.report.scope import attacked_tiles, find_defects
from raypipe.report.sheet import Note, Section, Sheet
from raypipe.report.strips import Strip, corruption_strips
from raypipe.report.threats import threats_table
from raypipe.report.trust import checks_overview, verdict_table
from raypipe.report.universal import (
    pattern_pictures,
    universal_heat,
    universal_table,
    universal_transfer_table,
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
    yield _clinical(book, subject)
    yield _accuracy(book)
    if overview := overview_table(book):
        yield _overview(book, overview)
    if book.corruptions:
        yield _shifts(book, run, store, subject)
    if external := external_table(book):
        yield _external(book, external)
    if book.universal:
        yield _universal(book, run, store)
    if run.paper_tables:
        yield _paper(book, run)
    yield _trust(book)
    yield _evidence(book, run, store)
    yield Part("details", "Details", "Details", folds=tuple(_details(book, run, store)))


def _clinical(book: Book, subject: str) -> Part:
    caption = (
        "Recall of each class: the share of its tiles that the model classifies correctly; a dash marks a class "
        f"without tiles; {attacked_tiles(book)}. {METHOD}"
    )
    others = tuple((recall_chart(book, other), "") for other in book.subjects if other != subject)
    recalls = Fold("recalls", "Recall of each class by the other models", caption, charts=others)
    matrices: Heats = tuple((f"{each.model} under {each.attack}", each.heats) for each in confusions(book))
    rows = "Rows: true class; columns: predicted class. Numbers: tiles; colors: shares of the row."
    folds = [recalls] if others else []
    folds += (
        [Fold("confusions", "Confusion matrices, clean and under attack", rows, heats=matrices)] if matrices else []
    )
    clinical = clinical_errors_table(book)
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
        ((recall_chart(book, subject), caption),),
        _tables(clinical),
        folds=tuple(folds),
    )


def _accuracy(book: Book) -> Part:
    caption = (
        "Accuracy in %, on the same tiles in every bar. Worst case: a tile counts as correct "
        f"only if no attack fools the model on it. {METHOD}"
    )
    panels = (curves_panel(book), distortions_panel(book))
    compared, frontier = frontier_table(book), frontier_panel(book)
    folds = [Fold("attacks", "Every model under every attack", tables=_tables(attacks_table(book)))]
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
            tables=_tables(distortions_table(book)),
        )
    )
    if (queried := queries_panel(book)) is not None:
        folds.append(
            Fold("queries", "Accuracy by number of queries", panels=(queried,), tables=_tables(queries_table(book)))
        )
    return Part(
        "accuracy",
        "Accuracy under attack",
        "Accuracy, clean and under attack",
        STATIC_LEAD if any(row["defense"] for row in book.subjects.values()) else "",
        ((robustness_chart(book), caption),),
        _tables(robustness_table(book), certified_table(book)),
        folds=tuple(folds),
    )


def _overview(book: Book, table: Sheet) -> Part:
    panel = overview_panel(book)
    fold = Fold("overview-figure", "All threats as a figure", panels=(panel,) if panel else ())
    return Part(
        "overview",
        "All threats",
        "All threats in one view",
        "What each defense buys, and what it costs: a defense against attacks in a ball may help or hurt elsewhere.",
        tables=(Section(table, tuple(overview_notes(book))),),
        folds=(fold,),
    )


def _shifts(book: Book, run: Run, store: Store, subject: str) -> Part:
    heat = corruptions_heat(book)
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
        tables=_tables(corruptions_table(book)),
        folds=tuple(folds),
        strips=tuple(corruption_strips(run, book, store, subject)),
    )


def _external(book: Book, table: Sheet) -> Part:
    classes = Fold("external-classes", "Recall by class", tables=_tables(external_classes_table(book)))
    return Part(
        "external",
        "Other hospitals",
        "Accuracy on external test sets",
        "These tiles come from elsewhere, and no model was trained on them. Their classes are mapped to the run's.",
        tables=(Section(table, tuple(external_notes(book))),),
        folds=(classes,),
    )


def _universal(book: Book, run: Run, store: Store) -> Part:
    heat = universal_heat(book)
    lead = "Accuracy, in %, of the model (row) on tiles with the pattern that was made for another model (column)."
    transfer = Fold(
        "universal-transfer",
        "Transfer of the patterns between models",
        lead,
        heats=(("", (heat,)),) if heat else (),
        tables=_tables(universal_transfer_table(book)),
    )
    return Part(
        "universal",
        "Universal perturbation",
        "Accuracy with one pattern for all tiles",
        "The attacker adds the same pattern to every tile, and needs no access to the model once it is made. Each "
        "picture shows a test tile without and with the pattern, and the pattern itself, amplified as stated below it.",
        tables=_tables(universal_table(book)),
        pictures=tuple(pattern_pictures(run, book, store)),
        folds=(transfer,) if heat else (),
    )


def _paper(book: Book, run: Run) -> Part:
    tables = (
        Section(table_1(book), (Note(threats(book)),)),
        Section(table_2(book), (Note(threats(book)), Note(PAPER), Note(STATIC))),
        Section(table_3(book, run.data), (Note(COMPARED),)),
    )
    return Part("paper", "The paper's tables", "The paper's tables: reported and measured figures", tables=tables)


def _trust(book: Book) -> Part:
    folds = Fold("checks", "The sanity checks", tables=_tables(checks_overview(book), failures_table(book)))
    return Part(
        "trust",
        "Can this be trusted?",
        "Can this be trusted?",
        "Attacks that fail make any model look robust. Each sanity check tests a law that working attacks obey. If one "
        "fails, robust accuracy may be overestimated, and the model is not called robust.",
        tables=_tables(verdict_table(book)),
        notes=tuple(find_defects(book)),
        folds=(folds,) if folds.tables else (),
    )


def _evidence(book: Book, run: Run, store: Store) -> Part:
    tables = (declared_metrics_table(book), digests_table(run, store))
    return Part(
        "evidence",
        "Evidence",
        "Evidence for regulators",
        DISCLAIMER,
        notes=tuple(evidence_notes()),
        folds=(
            Fold("evidence-table", "What was measured, by document", tables=_tables(evidence_table(book))),
            Fold("declaration", "Declared metrics and digests", tables=_tables(*tables)),
        ),
    )


def _details(book: Book, run: Run, store: Store) -> Iterator[Fold]:
    if matrices := tuple(transfers(book)):
        lead = (
            "Accuracy, in %, of the target model (row) on adversarial tiles made for the source model (column); "
            f"{attacked_tiles(book)}."
        )
        yield Fold("transfer", "Transferability of adversarial examples", lead, heats=(("", matrices),))
    yield Fold(
        "calibration",
        "Calibration: does confidence match accuracy?",
        panels=(reliability_panel(book),),
        tables=_tables(calibration_table(book)),
    )
    if tables := _tables(differences_table(book), seeds_table(book)):
        yield Fold("differences", "Differences in accuracy", tables=tables)
    if tables := _tables(candidates_table(book)):
        yield Fold("search", "Search of settings: what was tried", tables=tables)
    if learned := learning_panel(run, book, store):
        yield Fold("training", "Learning curves", panels=(learned,))
    costs = _tables(stage_costs_table(book), model_costs_table(book), cost_table(book), cell_costs_table(book))
    if costs:
        yield Fold("cost", "Cost of the run", tables=costs)
    yield Fold("threats", "Threat models of all attacks", tables=_tables(threats_table(run)))


def _tables(*sheets: Sheet | None) -> tuple[Section, ...]:
    return tuple(Section(sheet) for sheet in sheets if sheet is not None)
