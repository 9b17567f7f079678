"""Parts of the report on other threats than attacks with gradients, and on all threats side by side."""

from raypipe.evaluation.results.run import Run
from raypipe.report.corruptions import build_corruptions_heat, tabulate_corruptions
from raypipe.report.external import list_external_reservations, tabulate_external_classes
from raypipe.report.figures.overview import draw_overview_panel
from raypipe.report.layout import Book
from raypipe.report.overview import describe_hardened, tabulate_overview_differences
from raypipe.report.page.part import Fold, Part, list_tables
from raypipe.report.sheet import Section, Sheet
from raypipe.report.strips import draw_corruption_strips
from raypipe.report.universal import (
    build_universal_heat,
    draw_patterns,
    tabulate_universal,
    tabulate_universal_transfer,
)
from raypipe.storage.store import Store


def build_overview(book: Book, table: Sheet) -> Part:
    """Return the part of all threats side by side, around its table."""
    panel = draw_overview_panel(book)
    folds = [Fold("overview-figure", "All threats as a figure", panels=(panel,) if panel else ())]
    if differences := tabulate_overview_differences(book):
        folds.append(
            Fold(
                "overview-differences",
                "What hardening buys and costs, threat by threat",
                tables=list_tables(differences),
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


def build_shifts(book: Book, run: Run, store: Store, subject: str) -> Part:
    """Return the part of natural corruptions."""
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
        tables=list_tables(tabulate_corruptions(book)),
        folds=tuple(folds),
        strips=tuple(draw_corruption_strips(run, book, store, subject)),
    )


def build_external(book: Book, table: Sheet) -> Part:
    """Return the part of external test sets, around its table."""
    classes = Fold("external-classes", "Recall by class", tables=list_tables(tabulate_external_classes(book)))
    return Part(
        "external",
        "Other hospitals",
        "Accuracy on external test sets",
        "These tiles come from elsewhere, and no model was trained on them. Their classes are mapped to the run's.",
        tables=(Section(table, tuple(list_external_reservations(book))),),
        folds=(classes,),
    )


def build_universal(book: Book, run: Run, store: Store) -> Part:
    """Return the part of universal perturbations and their transfer."""
    heat = build_universal_heat(book)
    lead = "Accuracy, in %, of the model (row) on tiles with the pattern that was made for another model (column)."
    transfer = Fold(
        "universal-transfer",
        "Transfer of the patterns between models",
        lead,
        heats=(("", (heat,)),) if heat else (),
        tables=list_tables(tabulate_universal_transfer(book)),
    )
    return Part(
        "universal",
        "Universal perturbation",
        "Accuracy with one pattern for all tiles",
        "The attacker adds the same pattern to every tile, and needs no access to the model once it is made. Each "
        "picture shows a test tile without and with the pattern, and the pattern itself, amplified as stated below it.",
        tables=list_tables(tabulate_universal(book)),
        pictures=tuple(draw_patterns(run, book, store)),
        folds=(transfer,) if heat else (),
    )
