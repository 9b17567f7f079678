"""The tiles that figures are computed on: stated above every table, and the same within a row."""

from collections import Counter
from pathlib import Path

import pytest

from raypipe.evaluation.results.compute import compute_result
from raypipe.report.charts import build_recall_chart
from raypipe.report.layout import Book
from raypipe.report.paper_tables import build_table_1, build_table_2, build_table_3
from raypipe.report.robustness import list_verdicts, tabulate_robustness
from raypipe.report.scope import describe_prevalence, list_uncovered_classes
from raypipe.report.sections import list_sections
from raypipe.report.sheet import Sheet
from raypipe.storage.store import Store
from tests.evaluation.handmade import HARDENED, attack_only, hand_run

SCOPE = "attacked: 4 tiles of 4 groups"


def book_of(folder: Path, *ids: str) -> Book:
    """Return the handmade run as if only these tiles had been attacked."""
    store = Store.open(str(folder))
    run = hand_run(store)
    attack_only(store, run, list(ids))
    return Book.from_result(compute_result(store, run))


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    return book_of(tmp_path_factory.mktemp("store"), "a1", "b1", "c1", "d1")


def rows_of(sheet: Sheet) -> list[list[str]]:
    return [[cell.text for cell in row] for section in sheet.sections for row in section]


def test_every_table_with_figures_says_how_many_tiles_they_are_of(book: Book) -> None:
    told = Counter(SCOPE in sheet.title for _, (sheet, _) in list_sections(book) if not sheet.title.startswith("Cost"))
    assert told[False] == 0
    assert told[True] > 5


def test_a_row_is_of_one_set_of_tiles_and_the_test_set_has_a_column_of_its_own(book: Book) -> None:
    """Use an undefended model that is wrong on d2 only: 87.5 % on all tiles, and 100 % on the attacked ones."""
    sheet = tabulate_robustness(book)
    assert "full test set: 8 tiles of 4 groups" in sheet.title
    headings = [column.heading.replace("\n", " ") for column in sheet.columns]
    undefended = dict(zip(headings, rows_of(sheet)[0], strict=True))
    assert (undefended["clean, test set"], undefended["clean, attacked tiles"]) == ("87.5", "100.0")


def test_the_paper_s_tables_are_of_the_attacked_tiles(book: Book) -> None:
    assert rows_of(build_table_2(book))[0][3] == "100.0"
    assert [row[4] for row in rows_of(build_table_3(book, "mine")) if row[0] == "measured here"] == ["100.0"]
    first = rows_of(build_table_1(book))
    assert [row[1] for row in first[:3]] == ["clean test set", "clean tiles", "cw"]
    assert [row[-2:] for row in first[:3]] == [["8", "4"], ["4", "4"], ["4", "4"]]


def test_a_class_without_attacked_tiles_is_named_and_shows_a_dash(tmp_path: Path) -> None:
    book = book_of(tmp_path, "a1", "b1", "b2")
    (note,) = list_uncovered_classes(book)
    assert note.text == "None of the 3 attacked tiles belongs to the class benign: no figure under attack covers it."
    assert note in list(list_verdicts(book))
    labels = next(place for place, column in enumerate(build_table_1(book).columns) if column.heading == "benign")
    undefended = [(row[1], row[labels]) for row in rows_of(build_table_1(book))[:3]]
    assert undefended == [("clean test set", "100 75 86"), ("clean tiles", "- - -"), ("cw", "- - -")]
    whole = book_of(tmp_path / "all", "a1", "c1")
    dashes = [
        sum(
            bar.value is None
            for subject in each.subjects
            for bar in build_recall_chart(each, subject).panels[0][1][1].bars
        )
        for each in (whole, book)
    ]
    assert dashes == [0, 5], "clean and attacked of both models, and static of the hardened one"


def test_the_worst_case_is_also_given_at_the_class_shares_of_the_test_set(tmp_path: Path, book: Book) -> None:
    assert "re-weighted" not in describe_prevalence(book), "the attacked tiles have the shares of the test set"
    uneven = book_of(tmp_path, "a1", "b1", "b2", "c2")
    caption = tabulate_robustness(uneven).caption
    assert "balanced by class" in caption
    assert "re-weighted to the class shares of the test set (cancer 50.0 %, benign 50.0 %)" in caption
    # Within 2/255, 2 of 4 tiles stay correct: 1 of 3 cancers, which is b1, and 1 of 1 benign tiles.
    within = uneven.find_worst_cases(HARDENED)["linf <= 2/255"]
    cells = [cell for section in tabulate_robustness(uneven).sections for row in section for cell in row]
    assert f"({100 * within['accuracy_reweighted']:.1f})" in {cell.beside for cell in cells}
    assert (within["accuracy"], within["accuracy_reweighted"]) == (2 / 4, pytest.approx((1 / 3 + 1) / 2))
