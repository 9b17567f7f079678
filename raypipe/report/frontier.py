"""Frontier of clean against robust accuracy: one point for each model, and the cost of its training."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from raypipe.evaluation.results.outcomes import WORST_CASE
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import format_model
from raypipe.report.layout import Book, Row, describe_threat, format_interval
from raypipe.report.names import name_backbone
from raypipe.report.scope import describe_attacked_tiles
from raypipe.report.sheet import Note, Sheet

EQUAL = 1.25
"""Largest ratio of the passes of two trainings that counts as equal cost."""


class Frontier(NamedTuple):
    """The models of one backbone and one split, which are compared with each other.

    Parameters
    ----------
    title
        Name of the backbone, and of the split if there are several.
    points
        Number of each model, from 1 over the whole run, by the model's id.
    """

    title: str
    points: dict[str, int]


def list_frontiers(book: Book) -> list[Frontier]:
    """Return the frontiers of a run: one for each backbone and split with a hardened model and a ball of attacks."""
    if not list_bounds(book):
        return []
    members: dict[tuple[str, str], list[str]] = {}
    for subject, row in book.subjects.items():
        members.setdefault((row["model"], row["split"]), []).append(subject)
    found, splits, number = [], {split for _, split in members}, 0
    for (model, split), subjects in members.items():
        if all(book.subjects[subject]["defense"] is None for subject in subjects):
            continue
        backbone = book.subjects[subjects[0]]["backbone"]
        title = name_backbone(backbone) if model == backbone else model
        points = {subject: number + place for place, subject in enumerate(subjects, 1)}
        number += len(points)
        found.append(Frontier(f"{title} ({split} split)" if len(splits) > 1 else title, points))
    return found


def list_bounds(book: Book) -> list[str]:
    """Return the balls of the worst cases in the norm of the headline, ascending; none if no model was attacked."""
    rows = [row for row in book.records if row["protocol"] == WORST_CASE and row["eps"] is not None]
    norm = next((row["norm"] for row in rows if describe_threat(row) == book.headline), None)
    ascending = sorted((row for row in rows if row["norm"] == norm), key=lambda row: row["eps"])
    return list(dict.fromkeys(map(describe_threat, ascending)))


def find_undominated(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the positions of the points that no other point beats in one figure and equals or beats in the other.

    Parameters
    ----------
    points
        Clean and robust accuracy of each model.

    Returns
    -------
    list of int
        Positions, by ascending clean accuracy.
    """
    kept = [
        position
        for position, (clean, robust) in enumerate(points)
        if not any(other != (clean, robust) and other[0] >= clean and other[1] >= robust for other in points)
    ]
    return sorted(kept, key=lambda position: (points[position][0], -points[position][1]))


def tabulate_frontier(book: Book) -> Sheet | None:
    """Return a table of every model's clean and robust accuracy and the cost of its training; None without a frontier.

    A pass is a forward or a backward pass of a tile through a network. The count begins with the undefended model's
    first epoch, ends with the defense's last epoch, and includes the crafting of adversarial tiles.
    """
    frontiers, bounds = list_frontiers(book), list_bounds(book)
    if not frontiers:
        return None
    table = Sheet(
        "Clean and robust accuracy by cost of training. Accuracy and its 95 % interval, in %; "
        f"{describe_attacked_tiles(book)}"
    )
    table.add_columns("model", whole=True)
    table.add_columns("point", "clean", *(f"robust,\n{bound}" for bound in bounds), figures=True, whole=True)
    table.add_columns("training")
    table.add_columns("passes", "relative\npasses", "seconds", figures=True)
    table.add_columns("device")
    trainings = _find_trainings(book)
    for frontier in frontiers:
        least = min((_count_passes(row) for row in _find_compared(book, frontier)), default=0)
        for subject, number in frontier.points.items():
            row, worst = trainings.get(subject), book.find_worst_cases(subject)
            known = row is not None and row["seconds"] is not None
            passes = _count_passes(row) if row and known else 0
            table.add_row(
                format_model(book, subject),
                str(number),
                format_interval(book.find_clean(subject)),
                *(format_interval(worst.get(bound), "not\nattacked") for bound in bounds),
                row["kind"] if row else "-",
                f"{passes:,}" if known else "-",
                f"{passes / least:.2f}" if known and least else "-",
                f"{row['seconds']:,.1f}" if row and known else "-",
                row["device"] or "-" if row and known else "-",
            )
        table.add_section()
    table.caption = (
        "Robust: the worst case over all attacks within the bound, AutoAttack's ensemble included. Passes, forward and "
        "backward, of a tile through a network: the training of the undefended model, the crafting of the adversarial "
        "tiles that a model learned, and its hardening. Relative: to the hardened model of the same backbone with the "
        f"fewest passes. Seconds are summed over all workers. {METHOD}"
    )
    return table


def list_unequal_costs(book: Book) -> Iterator[Note]:
    """Yield a warning for each frontier whose hardened models were not trained at equal cost.

    Undefended models are left out, and so are defenses without training: their cost is a part of the others' cost.
    """
    for frontier in list_frontiers(book):
        rows = sorted(_find_compared(book, frontier), key=_count_passes)
        if rows and _count_passes(rows[-1]) > EQUAL * _count_passes(rows[0]):
            ratio = _count_passes(rows[-1]) / _count_passes(rows[0])
            yield Note(
                f"{frontier.title}: training costs differ. {rows[-1]['subject']} took {ratio:.1f} times the passes of "
                f"{rows[0]['subject']}; a comparison at equal cost allows {EQUAL:g}. Change `epochs` or `steps` of the "
                "defenses to compare them at equal cost.",
                "warn",
            )


def _find_trainings(book: Book) -> dict[str, Row]:
    return {row["subject"]: row for row in book.trainings}


def _find_compared(book: Book, frontier: Frontier) -> list[Row]:
    """Return the trainings of a frontier's hardened models whose defense has a training."""
    trainings = _find_trainings(book)
    return [
        trainings[subject]
        for subject in frontier.points
        if subject in trainings and trainings[subject]["hardening_passes"] and trainings[subject]["forwards"]
    ]


def _count_passes(row: Row) -> int:
    return int(row["forwards"] + row["backwards"])
