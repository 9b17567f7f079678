"""Matrices as heat maps: what is taken for what, and whose examples fool whom."""

from collections.abc import Iterator
from typing import NamedTuple

from raypipe.evaluation.run import ITSELF
from raypipe.report.layout import Book, Row


class Heat(NamedTuple):
    """A matrix of shares.

    Parameters
    ----------
    title
        What it shows.
    rows, columns
        Their names.
    shares
        In [0, 1], which give the colour; None where there is nothing.
    texts
        What stands in the cells.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    shares: tuple[tuple[float | None, ...], ...]
    texts: tuple[tuple[str, ...], ...]


class Confusions(NamedTuple):
    """One backbone under one attack: before, after, and once hardened."""

    model: str
    attack: str
    heats: tuple[Heat, ...]


def confusions(book: Book) -> Iterator[Confusions]:
    """Confusion matrices of every backbone under every attack of the grid; shares are of the true class."""
    for family, members in book.families().items():
        for attacked in book.of_subject(family, protocol="white-box", role="grid"):
            heats = [_confusion("clean", book.subjects[family]), _confusion("attacked", attacked)]
            for subject in members:
                if book.subjects[subject]["hardened_on"] == attacked["attack"]:
                    static = next(book.of_subject(subject, protocol="static", attack=attacked["attack"]), None)
                    anew = book.itself(subject, attacked["attack"])
                    defense = book.subjects[subject]["defense"]
                    heats += [_confusion(f"{defense}, clean", book.subjects[subject])]
                    heats += [_confusion(f"{defense}, static", static)] if static else []
                    heats += [_confusion(f"{defense}, attacked anew", anew)] if anew else []
            yield Confusions(family, attacked["attack"], tuple(heats))


def _confusion(title: str, row: Row) -> Heat:
    labels = tuple(row["labels"])
    shares = tuple(
        tuple(count / sum(counts) if sum(counts) else None for count in counts) for counts in row["confusion"]
    )
    texts = tuple(tuple(str(count) if count else "" for count in counts) for counts in row["confusion"])
    return Heat(title, labels, labels, shares, texts)


def transfers(book: Book) -> Iterator[Heat]:
    """For each attack: accuracy of every model on the tiles made against every undefended one."""
    transferred = [row for row in book.records if row["protocol"] == "transfer" and row["role"] != "check"]
    attacks = dict.fromkeys(row["attack"] for row in transferred)
    sources, subjects = tuple(book.families()), tuple(book.subjects)
    for attack in attacks:
        found = {
            (row["source"], row["subject"]): row["accuracy"] for row in book.records if row["attack"] == attack
            and (row["protocol"] in ("transfer", "static") or (row["protocol"] in ITSELF and row["source"] in sources))
        }  # fmt: skip
        shares = tuple(tuple(found.get((source, subject)) for source in sources) for subject in subjects)
        texts = tuple(tuple("" if share is None else f"{100 * share:.0f}" for share in line) for line in shares)
        yield Heat(attack, subjects, sources, shares, texts)
