"""Scope of a run's figures: number of tiles, number of groups, and classes without attacked tiles."""

from collections.abc import Iterator, Mapping

from raypipe.evaluation.results.outcomes import CLEAN_ATTACKED
from raypipe.report.layout import Book, Row, format_percent
from raypipe.report.sheet import Note

BALANCED = 0.01
"""Largest difference between a class's shares of the attacked tiles and of the test set that counts as none."""


def count_tiles(row: Row) -> str:
    """Return the number of tiles and groups of a record: ``60 tiles of 14 groups``."""
    return f"{row['tiles']} tiles of {row['groups']} groups"


def describe_attacked_tiles(book: Book) -> str:
    """Return a text on the attacked tiles.

    All figures under attack, and the clean figures next to them, are of these tiles.
    """
    return f"attacked: {_join_by_split(book, {name: book.find_clean(name) for name in book.subjects})}"


def describe_test_tiles(book: Book) -> str:
    """Return a text on the tiles of the full test set."""
    return f"full test set: {_join_by_split(book, book.subjects)}"


def _join_by_split(book: Book, rows: Mapping[str, Row]) -> str:
    found = {book.subjects[name]["split"]: count_tiles(row) for name, row in rows.items()}
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{tiles} ({split} split)" for split, tiles in found.items())


def list_uncovered_classes(book: Book) -> Iterator[Note]:
    """Yield notes on classes that no figure under attack covers, because none of their tiles was attacked."""
    keys = set()
    for name, row in book.subjects.items():
        attacked = book.find_clean(name)
        missing = [label for label, count in zip(row["labels"], attacked["support"], strict=True) if not count]
        if missing and (row["split"], attacked["tiles"]) not in keys:
            keys.add((row["split"], attacked["tiles"]))
            of = f" ({row['split']} split)" if len({each["split"] for each in book.subjects.values()}) > 1 else ""
            text = f"None of the {attacked['tiles']} attacked tiles{of} belongs to the class {', '.join(missing)}"
            yield Note(f"{text}: no figure under attack covers it.", "bad")


def find_defects(book: Book) -> Iterator[Note]:
    """Yield notes on figures that do not cover all classes, and on logits that are not finite."""
    yield from list_uncovered_classes(book)
    for row in book.records:
        if row["broken"] and row["protocol"] != CLEAN_ATTACKED:  # the record of all clean tiles already reports these
            tested = row["attack"] or "clean tiles"
            count = f"{row['broken']} of {row['tiles']}"
            text = f"{row['subject']}: on {tested}, {count} tiles have logits that are not finite"
            yield Note(f"{text}; they count as misclassified.", "bad")


def is_reweighted(row: Row | None, book: Book) -> bool:
    """Return True if a record's tiles have other class shares than the test set that they were chosen from."""
    if row is None or row["accuracy_reweighted"] is None:
        return False
    there, chosen = book.subjects[row["subject"]]["support"], row["support"]
    shares = zip(there, chosen, strict=True)
    return any(abs(a / sum(there) - b / sum(chosen)) > BALANCED for a, b in shares)


def describe_prevalence(book: Book) -> str:
    """Return a text on the class shares of the attacked tiles, and on the figure that has those of the test set."""
    cases = [row for name in book.subjects if (row := book.find_headline_case(name))]
    text = "Attacked tiles are balanced by class as far as the test set allows."
    if not any(is_reweighted(row, book) for row in cases):
        return text
    first = next(row for row in cases if is_reweighted(row, book))
    there = book.subjects[first["subject"]]["support"]
    shares = (
        f"{label} {format_percent(count / sum(there))} %"
        for label, count in zip(first["labels"], there, strict=True)
        if count
    )
    return f"{text} In parentheses: accuracy re-weighted to the class shares of the test set ({', '.join(shares)})."
