"""Parts of the report on accuracy: errors by class, and accuracy under attack."""

from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.charts import build_recall_chart, build_robustness_chart
from raypipe.report.details import tabulate_distortions
from raypipe.report.figures.curves import draw_curves_panel, draw_distortions_panel
from raypipe.report.figures.frontier import draw_frontier_panel
from raypipe.report.figures.queries import draw_queries_panel
from raypipe.report.frontier import list_unequal_costs, tabulate_frontier
from raypipe.report.heats import build_confusions
from raypipe.report.layout import Book
from raypipe.report.page.part import Fold, Heats, Part, list_tables
from raypipe.report.queries import tabulate_queries
from raypipe.report.robustness import (
    tabulate_attacks,
    tabulate_certified,
    tabulate_clinical_errors,
    tabulate_robustness,
)
from raypipe.report.scope import describe_attacked_tiles
from raypipe.report.sheet import Section

STATIC_LEAD = (
    "High accuracy in static evaluation does not show robustness, because those adversarial tiles were made for the "
    "undefended model. Compare it with the accuracy of the hardened model when it is attacked directly."
)


def build_clinical(book: Book, subject: str) -> Part:
    """Return the part of recalls by class, confusion matrices and, if the cancer classes are known, clinical errors."""
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
        list_tables(clinical),
        folds=tuple(folds),
    )


def build_accuracy(book: Book) -> Part:
    """Return the part of accuracies, clean and under attack, with curves, the frontier and every attack folded."""
    caption = (
        "Accuracy in %, on the same tiles in every bar. Worst case: a tile counts as correct "
        f"only if no attack fools the model on it. {METHOD}"
    )
    panels = (draw_curves_panel(book), draw_distortions_panel(book))
    compared, frontier = tabulate_frontier(book), draw_frontier_panel(book)
    folds = [Fold("attacks", "Every model under every attack", tables=list_tables(tabulate_attacks(book)))]
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
            tables=list_tables(tabulate_distortions(book)),
        )
    )
    if (queried := draw_queries_panel(book)) is not None:
        folds.append(
            Fold(
                "queries",
                "Accuracy by number of queries",
                panels=(queried,),
                tables=list_tables(tabulate_queries(book)),
            )
        )
    return Part(
        "accuracy",
        "Accuracy under attack",
        "Accuracy, clean and under attack",
        STATIC_LEAD if any(row["defense"] for row in book.subjects.values()) else "",
        ((build_robustness_chart(book), caption),),
        list_tables(tabulate_robustness(book), tabulate_certified(book)),
        folds=tuple(folds),
    )
