"""The conclusion of a run: three sentences from its figures, and a judgment of each model."""

from pathlib import Path
from typing import Any

import pytest

from raypipe.evaluation.checks.rules import Verdict
from raypipe.evaluation.results.compute import compute_result
from raypipe.report.findings import list_findings
from raypipe.report.judgment import INACCURATE, NOT_JUDGED, NOT_ROBUST, PARTLY, ROBUST, judge_model
from raypipe.report.layout import Book
from raypipe.report.summary import conclude
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, HARDENED, hand_run


def book_of(folder: Path, **changes: Any) -> Book:
    store = Store.open(str(folder))
    return Book.from_result(compute_result(store, hand_run(store).model_copy(update=changes)))


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    return book_of(tmp_path_factory.mktemp("store"))


def test_three_sentences_give_the_figures_with_tiles_groups_and_intervals(book: Book) -> None:
    found = conclude(book)
    clean, attacked, verdict = found.sentences
    assert found.subject == HARDENED
    assert clean.startswith(
        "On 8 test tiles from 4 groups (source images or patients), the hardened net (at against cw)"
    )
    assert "100 % (95 % interval " in clean
    assert "88 % (" in clean, "static"
    assert "50 % (" in attacked
    assert "62 % (" in attacked, "worst case within 2/255"
    assert "at most 2/255 per color value, too small to see" in attacked
    assert verdict.startswith("Verdict: not shown above chance"), "4 groups of 2 classes show nothing"
    assert "88 % of adversarial tiles made for the undefended model correctly, and 62 % when" in found.headline


def test_a_model_on_its_own_has_no_sentence_on_static_evaluation(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    alone = tuple(pairing for pairing in run.pairings if pairing.subject == CLEAN)
    found = conclude(book_of(tmp_path, subjects=run.subjects[:1], pairings=alone))
    assert "adversarial tiles" not in found.sentences[0]
    assert "0 % (" in found.sentences[1]


@pytest.mark.parametrize("marked", [("LEAKY: random split",), ()])
def test_no_leaky_split_and_no_lucky_seed_makes_the_headline(marked: tuple[str, ...], book: Book) -> None:
    """Give the model a twin that does better: on a split that leaks, or from another seed."""
    twin = [
        {**row, "subject": "twin", "accuracy": 1.0, "stamps": marked, "seed": row["seed"] + (not marked)}
        for row in book.records
        if row["subject"] == HARDENED
    ]
    both = Book([*twin, *book.records] if marked else [*book.records, *twin], [], [], [], [], [], [], [])
    assert conclude(both).subject == HARDENED
    assert conclude(Book(twin, [], [], [], [], [], [], [])).subject == "twin", "if there is no other"


def test_a_single_model_that_is_not_robust_is_not_said_to_be_shown_so(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    alone = tuple(pairing for pairing in run.pairings if pairing.subject == CLEAN)
    book = book_of(tmp_path, subjects=run.subjects[:1], pairings=alone)
    book = Book([{**row, "chance": 0.1} for row in book.records], book.curves, [], [], [], [], [], [])
    assert "Verdict: not robust; the model is not shown to do better than guessing" in conclude(book).sentences[2]


def test_without_known_cancers_the_first_finding_is_the_lost_accuracy(tmp_path: Path) -> None:
    first = list_findings(book_of(tmp_path, malignant=()))[0]
    assert first.severity == "critical"
    assert "classifies 62 % (" in first.text
    assert "without an attack 100 % (" in first.text


def test_a_gain_of_hardening_within_the_intervals_is_said_not_to_be_shown(book: Book) -> None:
    (finding,) = (finding for finding in list_findings(book) if finding.text.startswith("Hardening is not shown"))
    before, after = book.find_headline_case(CLEAN), book.find_headline_case(HARDENED)
    assert before is not None
    assert after is not None
    assert (
        f"{100 * before['accuracy']:.1f} % without hardening and {100 * after['accuracy']:.1f} % with" in finding.text
    )
    narrow = [
        {**row, "accuracy_low": row["accuracy"] - 1e-3, "accuracy_high": row["accuracy"] + 1e-3} for row in book.records
    ]
    sure = list_findings(Book(narrow, book.curves, [], [], [], [], [], []))
    assert any(finding.text.startswith("Hardening raises the worst case") for finding in sure)


def test_a_loss_by_hardening_outside_the_intervals_is_not_said_to_be_within_them(book: Book) -> None:
    worse = [
        {**row, "accuracy": 0.01, "accuracy_low": 0.0, "accuracy_high": 0.02}
        if row["subject"] == HARDENED
        else {**row, "accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}
        for row in book.records
    ]
    texts = [finding.text for finding in list_findings(Book(worse, book.curves, [], [], [], [], [], []))]
    (said,) = (text for text in texts if "raise the worst case" in text)
    assert "50.0 % without hardening and 1.0 % with it" in said
    assert "overlap" not in said


@pytest.mark.parametrize(
    ("worst", "clean", "withheld", "word"),
    [
        ((0.1, 0.0, 0.3), (0.9, 0.8, 1.0), False, NOT_ROBUST),
        ((0.1, 0.0, 0.3), (0.9, 0.8, 1.0), True, NOT_ROBUST),
        ((0.5, 0.4, 0.6), (0.9, 0.8, 1.0), False, PARTLY),
        ((0.5, 0.4, 0.6), (0.9, 0.8, 1.0), True, NOT_JUDGED),
        ((0.8, 0.7, 0.9), (0.9, 0.8, 1.0), False, PARTLY),  # intervals overlap, but one tile in ten is fooled
        ((0.895, 0.8, 1.0), (0.9, 0.8, 1.0), False, ROBUST),
        ((0.2, 0.1, 0.3), (0.2, 0.1, 0.3), False, INACCURATE),
    ],
)
def test_a_judgment_follows_from_the_intervals_and_the_checks(
    book: Book, worst: tuple[float, ...], clean: tuple[float, ...], withheld: bool, word: str
) -> None:
    def change(row: dict[str, Any]) -> dict[str, Any]:
        shares = {"worst case": worst, "clean": clean, "clean on attacked tiles": clean}.get(row["protocol"])
        names = ("accuracy", "accuracy_low", "accuracy_high")
        return {**row, "chance": 0.25, **(dict(zip(names, shares, strict=True)) if shares else {})}

    changed = Book(list(map(change, book.records)), book.curves, book.differences, book.checks, [], book.costs, [], [])
    verdicts = {HARDENED: Verdict(int(withheld), 10, 0, withheld, "")}
    assert judge_model(changed, HARDENED, verdicts).word == word
