"""Conclusion of a run in three sentences for readers outside the field, computed from its figures."""

from typing import NamedTuple

from raypipe.base.threat import write_bound
from raypipe.evaluation.protocols import ITSELF
from raypipe.evaluation.results.run import GIVEN, LEAKY
from raypipe.report.judgment import (
    INACCURATE,
    NOT_ATTACKED,
    NOT_JUDGED,
    NOT_ROBUST,
    PARTLY,
    RANKS,
    ROBUST,
    Judgment,
    judge_models,
)
from raypipe.report.layout import Book, Row
from raypipe.report.names import name_attack, name_backbone, name_defense
from raypipe.report.robustness import find_lowest, find_static
from raypipe.report.sheet import Tone

MANY = 1000
"""Number of tiles from which shares are given with one decimal."""
UNSEEN, HARD_TO_SEE = 4 / 255, 8 / 255
"""Largest changes of a color value that a viewer does not notice, and hardly notices, on a screen of 8 bits."""


class Conclusion(NamedTuple):
    """The conclusion of a run.

    Parameters
    ----------
    subject
        Id of the model that the sentences are about: the one of which the most can be said, hardened ones first.
    verdict
        One of `raypipe.report.judgment.RANKS`, with a capital letter.
    tone
        Kind of message; it determines the color.
    headline
        One short sentence, for a terminal or a heading.
    sentences
        Three sentences: clean and static accuracy, accuracy when attacked directly, and the verdict.
    """

    subject: str
    verdict: str
    tone: Tone
    headline: str
    sentences: tuple[str, str, str]


def conclude(book: Book) -> Conclusion:
    """Return the conclusion of a run."""
    judgments = judge_models(book)
    subject = choose_model(book, judgments)
    chosen = judgments[subject]
    return Conclusion(
        subject,
        chosen.word.capitalize(),
        chosen.tone,
        _write_headline(book, subject, chosen),
        (_say_clean(book, subject), _say_attacked(book, subject, chosen), _say_verdict(book, chosen, judgments)),
    )


def choose_model(book: Book, judgments: dict[str, Judgment]) -> str:
    """Return the id of the model of which the most can be said: a hardened one, if there is any.

    Where the run has several splits, a model whose split leaks is not taken. Of several seeds, only the first counts,
    because the best of them would look better than a training does. Among models with the same judgment it is the one
    with the highest worst case, then with the highest accuracy in static evaluation.
    """
    fair = {subject: row for subject, row in book.subjects.items() if not _leaks(book, subject)} or book.subjects
    seed = next(iter(fair.values()))["seed"]
    known = [subject for subject, row in fair.items() if row["seed"] == seed]
    hardened = [subject for subject in known if book.subjects[subject]["defense"] is not None]

    def rank(subject: str) -> tuple[float, ...]:
        judgment, static = judgments[subject], find_static(book, subject)
        worst = judgment.worst["accuracy"] if judgment.worst else 0
        return (
            RANKS.index(judgment.word),
            worst,
            static["accuracy"] if static else 0,
            book.find_clean(subject)["accuracy"],
        )

    return max(hardened or known, key=rank)


def _leaks(book: Book, subject: str) -> bool:
    return any(stamp.startswith(LEAKY) for stamp in book.find_clean(subject)["stamps"])


def find_direct(book: Book, subject: str) -> Row | None:
    """Return the record of a model under an attack on itself: the one that it was hardened with, or the strongest."""
    return find_lowest(book, subject, ITSELF, book.subjects[subject]["hardened_on"])


def name_model(book: Book, subject: str) -> str:
    """Return a model's name in a sentence: ``the hardened ResNet-18 (adversarial training against DeepFool)``."""
    row = book.subjects[subject]
    backbone = name_backbone(row["backbone"]) if row["model"] == row["backbone"] else row["model"]
    if row["defense"] is None:
        return f"the model {backbone}" if row["split"] == GIVEN else f"the undefended {backbone}"
    against = f" against {name_attack(row['hardened_on'])}" if row["hardened_on"] else ""
    return f"the hardened {backbone} ({name_defense(row['defense'])}{against})"


def write_share(row: Row, *, interval: bool = True) -> str:
    """Return an accuracy with its interval: ``83 % (70 to 91 %)``."""
    form = ".1f" if row["tiles"] >= MANY else ".0f"
    value, low, high = (row[name] for name in ("accuracy", "accuracy_low", "accuracy_high"))
    text = f"{100 * value:{form}} %"
    if not interval:
        return text
    return f"{text} (no interval)" if low is None else f"{text} ({100 * low:{form}} to {100 * high:{form}} %)"


def describe_change(row: Row) -> str:
    """Return the size of the changes that a worst case allows: ``changes of at most 4/255 per color value, ...``."""
    if row["eps"] is None:
        return "the smallest changes that it finds"
    bound = write_bound(row["eps"], row["norm"]).removeprefix("<= ")
    if row["norm"] != "linf":
        return f"changes of at most {bound} in {row['norm'].upper()}"
    seen = ", too small to see" if row["eps"] <= UNSEEN else ", hard to see" if row["eps"] <= HARD_TO_SEE else ""
    return f"changes of at most {bound} per color value{seen}"


def _write_headline(book: Book, subject: str, judgment: Judgment) -> str:
    name, direct = name_model(book, subject).removeprefix("the "), judgment.worst
    clean, static = book.find_clean(subject), find_static(book, subject)
    kept = f"{write_share(clean, interval=False)} of clean tiles"
    if static is not None:
        kept = f"{write_share(static, interval=False)} of adversarial tiles made for the undefended model"
    start = f"{judgment.word.capitalize()}: {name} classifies {kept} correctly"
    return (
        f"{start}." if direct is None else f"{start}, and {write_share(direct, interval=False)} when attacked directly."
    )


def _say_clean(book: Book, subject: str) -> str:
    clean, static = book.find_clean(subject), find_static(book, subject)
    start = (
        f"On {clean['tiles']} test tiles from {clean['groups']} groups (source images or patients), "
        f"{name_model(book, subject)} classifies {_format_first_interval(clean)} of the unchanged tiles correctly"
    )
    if static is None:
        return f"{start}."
    return f"{start}, and {write_share(static)} of adversarial tiles that were made for the undefended model."


def _format_first_interval(row: Row) -> str:
    return write_share(row).replace("(", "(95 % interval ", 1) if row["accuracy_low"] is not None else write_share(row)


def _say_attacked(book: Book, subject: str, judgment: Judgment) -> str:
    direct, worst = find_direct(book, subject), judgment.worst
    if worst is None or direct is None:
        return "No attack was run on it."
    start = f"Attacked directly, it classifies {write_share(direct)} correctly under {name_attack(direct['attack'])}"
    start += f", with {describe_change(direct)}"
    if worst is direct:
        return f"{start}."
    return f"{start}; in the worst case over all attacks with {describe_change(worst)}, it is {write_share(worst)}."


def _say_verdict(book: Book, judgment: Judgment, judgments: dict[str, Judgment]) -> str:
    others, count = [each.word for each in judgments.values()], len(judgments)
    unjudged = others.count(NOT_JUDGED)
    start = f"Verdict: {judgment.word}"
    if judgment.word == NOT_ROBUST:
        chance = f"{100 * next(iter(book.subjects.values()))['chance']:.0f} %"
        who = "the model is not" if count == 1 else f"none of the {count} models is"
        aside = f" ({unjudged} could not be judged)" if unjudged else ""
        return f"{start}; {who} shown to do better than guessing ({chance}) under attack{aside}."
    if judgment.word == PARTLY:
        weak = others.count(NOT_ROBUST)
        rest = f"; {weak} of the {count} models are not robust" if weak else ""
        return f"{start}: better than guessing under attack, but worse than on unchanged tiles{rest}."
    return {
        ROBUST: f"{start} within these changes; larger changes or stronger attacks may still fool the model.",
        NOT_JUDGED: f"{start}, because the sanity checks do not show that the attacks worked: the accuracy under "
        "attack may be overestimated.",
        NOT_ATTACKED: f"{start}: nothing is known about the model's robustness.",
        INACCURATE: f"{start}: even on unchanged tiles, the model is not shown to do better than guessing.",
    }[judgment.word]
