"""Requirements and sanity checks of an evaluated model, each met, not met or not applicable."""

import math
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from raypipe.base.rounding import FLOAT_NOISE
from raypipe.evaluation.requirements import CLEAN, ROBUST, Requirement
from raypipe.evaluation.results.outcomes import WORST_CASE
from raypipe.report.layout import Book, Row, format_with_interval
from raypipe.report.robustness import find_verdicts

State = Literal["pass", "fail", "not applicable"]
REQUIREMENT, CHECK = "requirement", "sanity check"


class GateOutcome(NamedTuple):
    """The outcome of one requirement or one sanity check.

    Parameters
    ----------
    kind
        ``requirement`` or ``sanity check``.
    name
        The requirement as it is written, or the name of the check.
    state
        ``pass``, ``fail`` or ``not applicable``.
    figure
        The measured figure in one line.
    meaning
        The reason for it, and the meaning of a failure.
    """

    kind: str
    name: str
    state: State
    figure: str
    meaning: str


def judge_gates(book: Book, subject: str, requirements: Iterable[Requirement]) -> tuple[GateOutcome, ...]:
    """Return the outcome of every requirement on a model, and of every sanity check.

    Robust accuracy is an upper bound, and a failed sanity check says that it may be far too high. It then meets no
    requirement, except for 0, which every model meets.

    Parameters
    ----------
    subject
        Id of the model.
    """
    verdict = find_verdicts(book).get(subject)
    failed = verdict.failed if verdict else 0
    checks = tuple(_list_checks(book, subject))
    return (*(_judge(book, subject, requirement, failed) for requirement in requirements), *checks)


def _judge(book: Book, subject: str, requirement: Requirement, failed_checks: int) -> GateOutcome:
    row, words = _find_row(book, subject, requirement)
    meaning = f"{words} is at least {100 * requirement.least:g} %."
    if row is None:
        return GateOutcome(REQUIREMENT, requirement.text, "fail", f"{words} was not measured", meaning)
    figure = f"{words} is {format_with_interval(row)} % on {row['tiles']} tiles"
    met = row["accuracy"] >= requirement.least
    if met and requirement.name != CLEAN and failed_checks and requirement.least > 0:
        figure += f", but {failed_checks} sanity check{'s' * (failed_checks > 1)} failed: it may be overestimated"
        met = False
    return GateOutcome(REQUIREMENT, requirement.text, "pass" if met else "fail", figure, meaning)


def _find_row(book: Book, subject: str, requirement: Requirement) -> tuple[Row | None, str]:
    """Return the record that a requirement is about, and its name in a sentence."""
    if requirement.name == CLEAN:
        return book.find_clean(subject), "clean accuracy"
    if requirement.name == ROBUST and requirement.eps is not None:
        cases = book.find_records(subject, protocol=WORST_CASE, norm=requirement.norm)
        near = (row for row in cases if row["eps"] and math.isclose(row["eps"], requirement.eps, rel_tol=FLOAT_NOISE))
        return next(near, None), f"robust accuracy in the ball {requirement.text.partition('@')[2]}"
    return book.find_headline_case(subject), f"worst case over attacks ({book.headline or 'no attack was run'})"


def _list_checks(book: Book, subject: str) -> Iterator[GateOutcome]:
    for row in book.checks:
        if row["subject"] == subject:
            yield GateOutcome(CHECK, row["check"], row["verdict"], row["figure"] or "", row["meaning"])
