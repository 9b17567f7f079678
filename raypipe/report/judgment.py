"""Judgment of one model in two or three words, by rules that a reader can check against the table of figures."""

from collections.abc import Mapping
from typing import NamedTuple

from raypipe.evaluation.checks.rules import Verdict
from raypipe.evaluation.protocols import ITSELF
from raypipe.report.layout import Book, Row
from raypipe.report.ranking import is_above_chance
from raypipe.report.robustness import find_lowest, find_verdicts
from raypipe.report.sheet import Tone

ROBUST, PARTLY, NOT_ROBUST = "no loss found", "partly robust", "not robust"
NOT_JUDGED, NOT_ATTACKED, INACCURATE = "not judged", "not attacked", "not shown above chance"
SMALL_LOSS = 0.01
"""Largest share of the attacked tiles that attacks may fool without a loss to speak of."""
RULE = (
    "Not robust: the 95 % interval of the worst case reaches down to chance, which is the accuracy of always naming "
    "the most frequent class. Partly robust: it lies above chance, and attacks fool more than one in 100 of the "
    "attacked tiles. No loss found: they fool at most one in 100. Not judged: a sanity check failed, or too few "
    "applied, and the worst case is above chance, so it may be overestimated."
)
TONES: dict[str, Tone] = {ROBUST: "good", PARTLY: "warn", NOT_ROBUST: "bad"}
RANKS = (INACCURATE, NOT_ATTACKED, NOT_JUDGED, NOT_ROBUST, PARTLY, ROBUST)
"""The words from the least to the most that can be said for a model."""


class Judgment(NamedTuple):
    """The judgment of a model.

    Parameters
    ----------
    word
        One of `RANKS`.
    tone
        Kind of message; it determines the color.
    worst
        Record behind the word: the worst case in the ball of `raypipe.report.layout.Book.headline`, or the lowest
        accuracy under any attack on the model itself where there is no ball; None if the model was not attacked.
    """

    word: str
    tone: Tone
    worst: Row | None


def judge_models(book: Book) -> dict[str, Judgment]:
    """Return the judgment of every model under test, by its id."""
    verdicts = find_verdicts(book)
    return {subject: judge_model(book, subject, verdicts) for subject in book.subjects}


def judge_model(book: Book, subject: str, verdicts: Mapping[str, Verdict]) -> Judgment:
    """Return the judgment of one model.

    Parameters
    ----------
    verdicts
        Result of `raypipe.report.robustness.find_verdicts`.
    """
    worst = book.find_headline_case(subject) or find_lowest(book, subject, ITSELF, None)
    word = _find_word(book.find_clean(subject), worst, verdicts.get(subject))
    return Judgment(word, TONES.get(word, "dim"), worst)


def _find_word(clean: Row, worst: Row | None, verdict: Verdict | None) -> str:
    if not is_above_chance(clean):
        return INACCURATE
    if worst is None:
        return NOT_ATTACKED
    if not is_above_chance(worst):
        return NOT_ROBUST  # an upper bound at chance is conclusive, even if the attacks could have been stronger
    if verdict is None or verdict.withheld:
        return NOT_JUDGED
    # Both figures are measured on the same tiles. Each lost tile was fooled, so the loss is compared without intervals.
    return ROBUST if clean["accuracy"] - worst["accuracy"] <= SMALL_LOSS else PARTLY
