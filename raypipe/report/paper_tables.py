"""Tables 1 to 3 in the form of Nisa et al. (2024), with the reported figures next to the measured ones."""

from collections.abc import Iterator

from raypipe.evaluation.protocols import ITSELF
from raypipe.evaluation.results.outcomes import CLEAN_ATTACKED
from raypipe.report.layout import Book, Row, describe_threat, format_percent, name_or_dash
from raypipe.report.paper import EARLIER, find_reported
from raypipe.report.scope import describe_attacked_tiles
from raypipe.report.sheet import Cell, Sheet

COLUMNS = {
    "normal": "normal",
    "attacked": "attacked",
    "robust_on_normal": "robust on\nnormal",
    "robust_on_perturbed": "robust on\nperturbed",
}
"""Columns of Table 2 as the paper defines them: the undefended model on normal and on perturbed test tiles, then the
hardened model on both. The perturbed tiles were crafted against the undefended model, so the last column is a static
evaluation."""
PAPER = "In parentheses: figures of Nisa et al. (2024) for LC25000 with a random split; a dash where none can be read."
COMPARED = (
    "Earlier work as in the paper's Table 3, each system on its own data, and below it the same system where this run "
    "has it. Figures with different data, threat models or attacks cannot be compared, so nothing is ranked. All "
    "reported figures are from static evaluation: no attack was run on the hardened model itself."
)
STATIC = (
    "'Robust on perturbed' is a static evaluation: the adversarial examples were crafted against the undefended model. "
    "The column next to it shows the accuracy of the hardened model under an attack on the model itself."
)


def describe_threats(book: Book) -> str:
    """Return the threat model of every attack in the tables, as a text."""
    attacks = {row["attack"]: row for row in book.records if row["protocol"] in ITSELF and row["role"] == "grid"}
    models = "; ".join(
        f"{name}: {describe_threat(row)}, {row['knowledge']}, {row['goal']}" for name, row in attacks.items()
    )
    return f"Threat models, with success counted on 8-bit pixels: {models}."


def build_table_1(book: Book) -> Sheet:
    """Return Table 1: precision, recall and F1 of each label, and accuracy.

    It has a row for every model at every stage of the paper's protocol.
    """
    table = Sheet(f"Table 1. Precision, recall, F1 of each label and accuracy, in %; {describe_attacked_tiles(book)}")
    table.add_columns("model", "tested on", "hardened with")
    table.add_columns(*next(iter(book.subjects.values()))["labels"], "accuracy", "tiles", "groups", figures=True)
    for undefended in (name for name, row in book.subjects.items() if row["defense"] is None):
        for subject, row in _list_stages(book, undefended):
            scores = zip(row["precision"], row["recall"], row["f1"], strict=True)
            hardened = book.subjects[subject]
            table.add_row(
                undefended,
                row["attack"] or ("clean tiles" if row["protocol"] == CLEAN_ATTACKED else "clean test set"),
                name_or_dash(hardened["hardened_on"] or hardened["defense"]),
                *(" ".join(_format_rounded(score) for score in label) for label in scores),
                format_percent(row["accuracy"]),
                str(row["tiles"]),
                str(row["groups"]),
            )
        table.add_section()
    return table


def _format_rounded(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.0f}"


def _list_stages(book: Book, undefended: str) -> Iterator[tuple[str, Row]]:
    """Yield the rows of one backbone: clean, attacked, and hardened models on clean and on static adversarial tiles.

    The full test set has its own row if only some of its tiles were attacked.
    """
    yield from _list_clean(book, undefended)
    for row in book.find_records(undefended, protocol="white-box", role="grid"):
        yield undefended, row
    for subject, clean in book.subjects.items():
        if clean["defense"] and book.find_undefended(subject) == undefended:
            yield from _list_clean(book, subject)
            for row in book.find_records(subject, protocol="static", role="grid"):
                if clean["hardened_on"] in (None, row["attack"]):
                    yield subject, row


def _list_clean(book: Book, subject: str) -> Iterator[tuple[str, Row]]:
    whole, attacked = book.subjects[subject], book.find_clean(subject)
    if whole["tiles"] != attacked["tiles"]:
        yield subject, whole
    yield subject, attacked


def build_table_2(book: Book) -> Sheet:
    """Return Table 2: the paper's four accuracies of every model, attack and defense, and a fifth one.

    The fifth one, which the paper lacks, is the accuracy of the hardened model under attacks on itself.
    """
    hardened = any(row["defense"] for row in book.subjects.values())
    columns = list(COLUMNS) if hardened else ["normal", "attacked"]
    table = Sheet(
        "Table 2. Accuracy before and after hardening, in % (paper's), on the same tiles; "
        f"{describe_attacked_tiles(book)}"
    )
    table.add_columns("model", "attack", "defense")
    table.add_columns(*(COLUMNS[column] for column in columns), figures=True, whole=True)
    if hardened:
        table.add_columns("robust,\nwhite-box", figures=True)
    for undefended in (name for name, row in book.subjects.items() if row["defense"] is None):
        for subject, attack in _list_pairs(book, undefended, hardened):
            rows = {"normal": book.find_clean(undefended), "attacked": book.find_white_box(undefended, attack)}
            if hardened:
                static = next(book.find_records(subject, protocol="static", attack=attack), None)
                rows |= {"robust_on_normal": book.find_clean(subject), "robust_on_perturbed": static}
            cells = [_format_beside_paper(column, row, rows["attacked"], subject, book) for column, row in rows.items()]
            white_box = book.find_white_box(subject, attack) if hardened else None
            table.add_row(
                undefended,
                attack,
                name_or_dash(book.subjects[subject]["defense"]),
                *cells,
                *([format_percent(white_box["accuracy"]) if white_box else "-"] if hardened else []),
            )
        table.add_section()
    return table


def build_table_3(book: Book, data: str) -> Sheet:
    """Return Table 3: each earlier system, the same system as measured here below it, and then all other systems.

    Parameters
    ----------
    data
        Name of the run's data set, as a text for the reader.
    """
    table = Sheet(f"Table 3. Accuracy of earlier work and of this run, in %; this run, {describe_attacked_tiles(book)}")
    table.add_columns("work", "backbone", "attack", "defense")
    table.add_columns("clean", "attacked", "defended,\nstatic", "defended,\nwhite-box", figures=True)
    measured = list(_list_measured(book))
    for row in EARLIER:
        defended = "-" if row.defended is None else f"{row.defended:g}"
        figures = (f"{row.clean:g}", f"{row.attacked:g}", defended, "-")
        table.add_row(Cell("reported", below=row.data), row.backbone, row.attack, row.defense, *figures)
        for system, cells in measured:
            if system == row.here:
                table.add_row(Cell("measured here", below=data), *cells)
        table.add_section()
    known = {row.here for row in EARLIER}
    for system, cells in measured:
        if system not in known:
            table.add_row(Cell("measured here", below=data), *cells)
    return table


def _list_measured(book: Book) -> Iterator[tuple[tuple[str, str, str], tuple[Cell | str, ...]]]:
    """Yield backbone, attack and defense by their registries' names, and the cells of Table 3 for this system."""
    for undefended in (name for name, row in book.subjects.items() if row["defense"] is None):
        for subject, attack in _list_pairs(book, undefended, hardened=True):
            attacked, white_box = book.find_white_box(undefended, attack), book.find_white_box(subject, attack)
            static = next(book.find_records(subject, protocol="static", attack=attack), None)
            figures = (format_percent(row["accuracy"]) if row else "-" for row in (attacked, static, white_box))
            clean, defense = book.subjects[undefended], str(book.subjects[subject]["defense"])
            system = (str(clean["backbone"]), str(attacked["method"]) if attacked else "", defense)
            under = Cell(attack, below=describe_threat(attacked) if attacked else "")
            yield (
                system,
                (
                    undefended,
                    under,
                    name_or_dash(defense),
                    format_percent(book.find_clean(undefended)["accuracy"]),
                    *figures,
                ),
            )


def _list_pairs(book: Book, undefended: str, hardened: bool) -> Iterator[tuple[str, str]]:
    """Yield models, each with an attack of the grid that it is shown with."""
    attacks = [row["attack"] for row in book.find_records(undefended, protocol="white-box", role="grid")]
    for subject, clean in book.subjects.items():
        if book.find_undefended(subject) == undefended and bool(clean["defense"]) == hardened:
            for attack in attacks:
                if clean["hardened_on"] in (None, attack):
                    yield subject, attack


def _format_beside_paper(column: str, row: Row | None, attacked: Row | None, subject: str, book: Book) -> Cell:
    if row is None:
        return Cell("-")
    method = attacked["method"] if attacked else ""
    paper = find_reported(column, row["backbone"], method, hardened_on=book.subjects[subject]["hardened_on"]) or "-"
    return Cell(format_percent(row["accuracy"]), beside=f"({paper})")
