"""Runs side by side, and the page over all runs of a store."""

from pathlib import Path

import pytest

from raypipe.evaluation.across import differences_across
from raypipe.evaluation.results import compute_result
from raypipe.evaluation.run import Run, write_run
from raypipe.report.compare import differences_sheet, side_by_side
from raypipe.report.layout import Book
from raypipe.report.leaderboard import leaderboard
from raypipe.report.page.compare import write_comparison
from raypipe.report.page.index import write_index
from raypipe.store import Store
from tests.evaluation.handmade import HARDENED, hand_run
from tests.report.browser import CHROMIUM, look


def two_runs(store: Store) -> tuple[Run, Run]:
    """The run worked out by hand, and one whose hardened model withstands an attack anew as it does the old tiles."""
    first = hand_run(store)
    (static,) = (pairing for pairing in first.pairings if pairing.protocol == "static")
    pairings = tuple(
        pairing.model_copy(update={"tiles": static.tiles, "predictions": static.predictions})
        if pairing.protocol == "adaptive"
        else pairing
        for pairing in first.pairings
    )
    second = first.model_copy(update={"name": "better", "pairings": pairings})
    write_run(store, second)
    return first, second


def test_differences_are_made_tile_by_tile_with_intervals(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    rows = list(differences_across(two_runs(store), store))
    assert {(row["run"], row["against"]) for row in rows} == {("better", "hand")}
    (attacked,) = (row for row in rows if row["subject"] == HARDENED and row["measure"] == "attacked")
    assert attacked["paired"]
    assert attacked["difference"] == pytest.approx((7 - 4) / 8)
    assert attacked["difference_low"] <= attacked["difference"] <= attacked["difference_high"]
    same = [row for row in rows if row["measure"] in ("clean", "static")]
    assert len(same) == 3
    assert all(row["difference"] == row["difference_low"] == row["difference_high"] == 0 for row in same)


def test_a_run_stands_beside_another(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    runs = two_runs(store)
    books = {run.name: Book.of(compute_result(store, run)) for run in runs}
    sheet = side_by_side(books)
    headings = [column.heading for column in sheet.columns]
    row = next(row for section in sheet.sections for row in section if row[0].text == HARDENED)
    found = dict(zip(headings, row, strict=True))
    assert (found["attacked anew\nhand"].text, found["attacked anew\nbetter"].text) == ("50.0", "87.5")
    assert found["attacked anew\nhand"].below, "an interval"

    differences = list(differences_across(runs, store))
    sheet_of_differences = differences_sheet(differences)
    assert sheet_of_differences is not None
    texts = [cell.text for section in sheet_of_differences.sections for row in section for cell in row]
    assert any(text.startswith("37.5 [") for text in texts)
    page = Path(write_comparison(runs, books, differences, store))
    assert page == tmp_path / "comparisons" / "hand+better.html"
    assert page.read_text().count('aria-label="better') == 2, "its accuracies and its curves"
    assert (page.parent / "../runs/better").exists()
    if CHROMIUM:
        for width in (1280, 390):
            seen = look(page, width)
            assert (seen.errors, seen.overflow, seen.unseen) == ([], 0, [])


def test_the_leaderboard_has_the_strongest_in_the_worst_case_first(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    for run in two_runs(store):
        compute_result(store, run)
    (tmp_path / "runs" / "unfinished").mkdir()
    sheet = leaderboard(store)
    rows = [row for section in sheet.sections for row in section]
    assert len(rows) == 4, "a row for each model of each finished run"
    worst = [float(row[2].text) for row in rows]
    assert worst == sorted(worst, reverse=True)
    assert (rows[0][0].below, rows[0][1].text) == ("at, cw", "better")
    assert rows[0][1].href == "runs/better/report.html"
    assert rows[0][-2].text == "not checked"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_index_sorts_in_a_browser(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    for run in two_runs(store):
        compute_result(store, run)
    page = Path(write_index(store))
    for width in (1280, 390):
        seen = look(page, width, click="#models th:nth-child(3)")
        assert (seen.errors, seen.overflow) == ([], 0)
        column = [float(text.split()[0]) for text in seen.column]
        assert column == sorted(column)
        assert len(set(column)) > 1
