"""Cells that name a model, in two lines so that tables stay narrow, and notes on what the attackers know."""

from raypipe.evaluation.protocols import ITSELF
from raypipe.evaluation.results.run import GIVEN
from raypipe.report.layout import Book
from raypipe.report.names import name_attack, name_backbone, name_defense
from raypipe.report.sheet import Cell

HARDENED, UNDEFENDED = "hardened", "undefended"
"""Kinds of models that a reader can filter by."""


def format_model(book: Book, subject: str) -> Cell:
    """Return a cell with a model's backbone, and below it its defense."""
    return Cell(name_family(book, subject), below=name_hardening(book, subject), kind=name_kind(book, subject))


def name_family(book: Book, subject: str) -> str:
    """Return the name of a model without its defense: that of its backbone, unless the id says more."""
    row, undefended = book.subjects[subject], book.find_undefended(subject)
    return name_backbone(row["backbone"]) if undefended == row["backbone"] else undefended


def name_hardening(book: Book, subject: str) -> str:
    """Return the defense of a model in words, and the attack it was hardened with: ``adversarial training, PGD``."""
    row = book.subjects[subject]
    if row["defense"] is None:
        return "given model" if row["split"] == GIVEN else "undefended"
    attack = f", {name_attack(row['hardened_on'])}" if row["hardened_on"] else ""
    return f"{name_defense(row['defense'])}{attack}"


def name_kind(book: Book, subject: str) -> str:
    """Return the kind of a model."""
    return UNDEFENDED if book.subjects[subject]["defense"] is None else HARDENED


def describe_knowledge(book: Book) -> str:
    """Return a sentence on the attackers' knowledge in the attacks that are run on the models themselves."""
    found: dict[str, list[str]] = {}
    for row in book.records:
        if row["protocol"] in ITSELF and row["role"] in ("grid", "evaluation"):
            names = found.setdefault(row["knowledge"], [])
            if row["attack"] not in names:
                names.append(row["attack"])
    texts = "; ".join(f"{knowledge}: {', '.join(map(name_attack, names))}" for knowledge, names in found.items())
    return f"Attackers' knowledge: {texts}." if texts else ""
