"""Matrices as heat maps: confusion of classes, and transferability of adversarial examples."""

from collections.abc import Iterator
from typing import NamedTuple

from raypipe.evaluation.protocols import ITSELF
from raypipe.report.cells import name_family, name_hardening
from raypipe.report.layout import Book, Row
from raypipe.report.names import name_attack, name_class, name_defense

CLEAN, STATIC, ATTACKED, TRANSFER = "--clean", "--static", "--attacked", "--transfer"


class Shade(NamedTuple):
    """A cell of a matrix.

    Parameters
    ----------
    text
        Text of the cell.
    share
        Share in [0, 1], in the form that a page needs. It determines the color.
    percent
        Share in percent; empty where there is no figure.
    """

    text: str
    share: str
    percent: str


class Heat(NamedTuple):
    """A matrix of shares.

    Parameters
    ----------
    title
        Title of the matrix.
    columns
        Names of the columns.
    rows
        Name and cells of each row.
    color
        Variable of the page's style sheet with the color of a share of 1.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Shade, ...]], ...]
    color: str


class Confusions(NamedTuple):
    """Confusion matrices of one backbone under one attack: before the attack, after it, and after hardening."""

    model: str
    attack: str
    heats: tuple[Heat, ...]


def build_confusions(book: Book) -> Iterator[Confusions]:
    """Yield the confusion matrices of every backbone under every attack of the grid. Shares are of the true class.

    A model that was evaluated on its own has no grid: it has a matrix for every attack of the evaluation.
    """
    for family, members in book.list_families().items():
        clean = _build_confusion("clean", book.find_clean(family), CLEAN)
        by_role = (list(book.find_records(family, protocol="white-box", role=role)) for role in ("grid", "evaluation"))
        for attacked in next(filter(None, by_role), []):
            heats = [clean, _build_confusion("white-box", attacked, ATTACKED)]
            for subject in members:
                if book.subjects[subject]["hardened_on"] == attacked["attack"]:
                    static = next(book.find_records(subject, protocol="static", attack=attacked["attack"]), None)
                    white_box = book.find_white_box(subject, attacked["attack"])
                    defense = name_defense(book.subjects[subject]["defense"])
                    heats += [_build_confusion(f"{defense}, clean", book.find_clean(subject), CLEAN)]
                    heats += [_build_confusion(f"{defense}, static", static, STATIC)] if static else []
                    heats += [_build_confusion(f"{defense}, white-box", white_box, ATTACKED)] if white_box else []
            yield Confusions(name_family(book, family), name_attack(attacked["attack"]), tuple(heats))


def _build_confusion(title: str, row: Row, color: str) -> Heat:
    rows = (
        (
            name_class(label),
            tuple(shade(str(count or ""), count / sum(counts) if sum(counts) else None) for count in counts),
        )
        for label, counts in zip(row["labels"], row["confusion"], strict=True)
    )
    return Heat(title, tuple(map(name_class, row["labels"])), tuple(rows), color)


def shade(text: str, share: float | None) -> Shade:
    """Return a cell with a text and the color of a share; without a share it has no color."""
    return Shade(text, "0", "") if share is None else Shade(text, f"{share:.3f}", f"{100 * share:.1f} %")


def build_transfers(book: Book) -> Iterator[Heat]:
    """Yield a matrix per attack: the accuracy of every model on tiles crafted against each undefended model."""
    transferred = [row for row in book.records if row["protocol"] == "transfer" and row["role"] != "check"]
    attacks = dict.fromkeys(row["attack"] for row in transferred)
    sources, subjects = tuple(book.list_families()), tuple(book.subjects)
    for attack in attacks:
        found = {
            (row["source"], row["subject"]): row["accuracy"] for row in book.records if row["attack"] == attack
            and (row["protocol"] in ("transfer", "static") or (row["protocol"] in ITSELF and row["source"] in sources))
        }  # fmt: skip
        rows = [
            (
                f"{name_family(book, subject)}, {name_hardening(book, subject)}",
                tuple(_shade_accuracy(found.get((each, subject))) for each in sources),
            )
            for subject in subjects
        ]
        yield Heat(name_attack(attack), tuple(name_family(book, each) for each in sources), tuple(rows), TRANSFER)


def _shade_accuracy(accuracy: float | None) -> Shade:
    return shade("" if accuracy is None else f"{100 * accuracy:.0f}", accuracy)
