"""Runs side by side, and the page over all runs of a store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.evaluation.results.across import compare_across
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.run import Run, write_run
from raypipe.evaluation.results.schemas import CHECKS, RESULTS
from raypipe.evaluation.statistics.permutation import adjust_p_values
from raypipe.report.compare import list_incomparable, tabulate_run_differences, tabulate_side_by_side
from raypipe.report.layout import Book
from raypipe.report.leaderboard import rank_models
from raypipe.report.page.compare import write_comparison
from raypipe.report.page.index import write_index
from raypipe.report.ranking import find_winner
from raypipe.report.sheet import Sheet
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, HARDENED, attack_only, hand_run
from tests.report.browser import CHROMIUM, look


def two_runs(store: Store) -> tuple[Run, Run]:
    """Return the handmade run, and one whose hardened model is as accurate under the adaptive attack as static."""
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
    rows = compare_across(two_runs(store), store)
    assert {(row["run"], row["against"]) for row in rows} == {("better", "hand")}
    (attacked,) = (row for row in rows if row["subject"] == HARDENED and row["measure"] == "attacked")
    assert attacked["paired"]
    assert attacked["difference"] == pytest.approx((7 - 4) / 8)
    assert attacked["difference_low"] <= attacked["difference"] <= attacked["difference_high"]
    same = [row for row in rows if row["measure"] in ("clean", "static")]
    assert len(same) == 3
    assert all(row["difference_low"] < row["difference"] == 0 < row["difference_high"] for row in same)
    assert all(row["p_value"] == row["p_adjusted"] == 1 for row in same)
    assert [row["p_adjusted"] for row in rows] == adjust_p_values([row["p_value"] for row in rows])


def test_runs_of_one_model_each_are_compared_whatever_the_models_are_called(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)

    def alone(subject_id: str) -> Run:
        subjects = tuple(subject for subject in run.subjects if subject.id == subject_id)
        pairings = tuple(pairing for pairing in run.pairings if pairing.subject == subject_id)
        return run.model_copy(update={"name": f"only-{len(subject_id)}", "subjects": subjects, "pairings": pairings})

    undefended, hardened = alone(CLEAN), alone(HARDENED)
    rows = compare_across([undefended, hardened], store)
    (clean,) = (row for row in rows if row["measure"] == "clean")
    assert (clean["subject"], clean["run"], clean["against"]) == (HARDENED, hardened.name, undefended.name)
    assert clean["paired"]
    subjects = {row["subject"] for row in compare_across([run, hardened], store)}
    assert subjects == {HARDENED}  # with more models, ids decide


def test_a_run_stands_beside_another(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    runs = two_runs(store)
    books = {run.name: Book.from_result(compute_result(store, run)) for run in runs}
    sheet = tabulate_side_by_side(books)
    headings = [column.heading for column in sheet.columns]
    rows = [dict(zip(headings, row, strict=True)) for section in sheet.sections for row in section]
    hardened = [row for row in rows if row["model"].kind == "hardened"]
    assert [(row["run"].text, row["white-box"].text) for row in hardened] == [("hand", "50.0"), ("better", "87.5")]
    assert hardened[0]["white-box"].below, "an interval"

    differences = compare_across(runs, store)
    sheet_of_differences = tabulate_run_differences(differences)
    assert sheet_of_differences is not None
    texts = [cell.text for section in sheet_of_differences.sections for row in section for cell in row]
    assert any(text.startswith("37.5 [") for text in texts)
    page = Path(write_comparison(runs, books, differences, store))
    assert page == tmp_path / "comparisons" / "hand+better.html"
    assert page.read_text().count('<figure class="chart"') == 2, "the accuracies of each run"
    assert (page.parent / "../runs/better").exists()
    if CHROMIUM:
        for width in (1280, 390):
            seen = look(page, width)
            assert (seen.errors, seen.overflow, seen.unseen) == ([], 0, [])


def keep(store: Store, run: Run, chance: float = 0.05, **verdicts: str) -> None:
    """Compute a run, and add a check with one verdict for the undefended and the hardened model.

    Its 8 tiles show no accuracy above that of guessing between two classes, so another chance is stored.
    """
    write_run(store, run)
    records = compute_result(store, run).records.to_pylist()
    changed = [{**row, "chance": chance} for row in records]
    store.write_table(f"runs/{run.name}/records.parquet", pa.Table.from_pylist(changed, schema=RESULTS))
    rows = [
        {"subject": {"undefended": CLEAN, "hardened": HARDENED}[name], "check": "a law", "verdict": verdict}
        for name, verdict in verdicts.items()
    ]
    store.write_table(f"runs/{run.name}/checks.parquet", pa.Table.from_pylist(rows, schema=CHECKS))


def ranked(sheet: Sheet) -> list[tuple[str, str, str, str]]:
    """Return place, kind of model, run and worst case of each row."""
    rows = [row for section in sheet.sections for row in section]
    return [(row[1].text, row[0].below, row[2].text, row[3].text) for row in rows]


def test_a_leaderboard_has_the_models_of_the_same_tiles_threat_and_attacks(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    for run in two_runs(store):
        keep(store, run, undefended="pass", hardened="pass")
    (tmp_path / "runs" / "unfinished").mkdir()
    (sheet,), _ = rank_models(store)
    assert "linf <= 2/255" in sheet.title
    assert "attacked: 8 tiles of 4 groups" in sheet.title
    assert ranked(sheet) == [
        ("tied", "at, cw", "better", "87.5"),
        ("tied", "at, cw", "hand", "62.5"),
        ("not ranked", "undefended", "better", "0.0"),  # below always predicting the most frequent class
        ("not ranked", "undefended", "hand", "0.0"),
    ]
    assert sheet.sections[0][0][2].href == "runs/better/report.html"


def test_a_model_that_is_not_shown_above_chance_has_no_place(tmp_path: Path) -> None:
    """Take accuracies above that of guessing whose intervals include it."""
    store = Store.open(str(tmp_path))
    for run in two_runs(store):
        keep(store, run, chance=0.5, undefended="pass", hardened="pass")
    (sheet,), _ = rank_models(store)
    assert [row[:1] + row[3:] for row in ranked(sheet)[:2]] == [("not ranked", "87.5"), ("not ranked", "62.5")]


def with_settings(run: Run, settings: dict[str, Any]) -> dict[str, Any]:
    return {"pairings": tuple(p.model_copy(update={"settings": settings}) if p.threat else p for p in run.pairings)}


OTHER: dict[str, Callable[[Run], dict[str, Any]]] = {
    "data set": lambda _: {"data": "ebhi_seg"},
    "threat model": lambda _: {"radii": {"linf": (4 / 255,)}},
    "norm": lambda _: {"radii": {"l2": (2 / 255,)}},
    "attack settings": lambda run: with_settings(run, {"name": "cw", "max_iterations": 2}),
    "split": lambda run: {
        "stamps": {"paper": ()},
        "subjects": tuple(subject.model_copy(update={"split": "paper"}) for subject in run.subjects),
    },
}


@pytest.mark.parametrize("other", OTHER)
def test_models_are_never_ranked_across(other: str, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    keep(store, run, hardened="pass")
    keep(store, run.model_copy(update={"name": "other", **OTHER[other](run)}), hardened="pass")
    boards, _ = rank_models(store)
    assert [{row[2] for row in ranked(board)} for board in boards] in ([{"hand"}, {"other"}], [{"other"}, {"hand"}])
    assert len({board.title for board in boards}) == 2


def test_models_are_never_ranked_across_numbers_of_attacked_tiles(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    keep(store, run, hardened="pass")
    attack_only(store, run, ["a1", "b1", "c1", "d1"])
    keep(store, run.model_copy(update={"name": "other"}), hardened="pass")
    assert len(rank_models(store)[0]) == 2


@pytest.mark.parametrize("verdict", ["fail", "not applicable", None])
def test_a_model_that_is_not_cleared_is_not_first(verdict: str | None, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    hand, better = two_runs(store)
    keep(store, hand, hardened="pass")
    keep(store, better, **({"hardened": verdict} if verdict else {}))
    (sheet,), _ = rank_models(store)
    first, second = ranked(sheet)[:2]
    assert first == ("only one ranked", "at, cw", "hand", "62.5")
    assert second == ("not ranked", "at, cw", "better", "87.5"), "a higher figure that nothing vouches for"


def test_a_run_of_an_older_version_is_computed_again_or_left_out_by_name(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    keep(store, run, hardened="pass")
    records = store.read_table("runs/hand/records.parquet")
    store.write_table("runs/hand/records.parquet", records.drop_columns(["stored_eps"]))
    (sheet,), left_out = rank_models(store)
    assert {row[2] for row in ranked(sheet)} == {"hand"}
    assert left_out == []
    store.write_table("runs/hand/records.parquet", records.drop_columns(["stored_eps"]))
    store.remove(store.artifact("predictions", run.pairings[0].predictions))
    boards, (note,) = rank_models(store)
    assert boards == []
    assert note.text.startswith("hand is left out: an older raypipe computed it")
    assert "is left out" in Path(write_index(store)).read_text()


ACCURACIES = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(st.lists(ACCURACIES, max_size=6))
def test_ties_have_no_winner(intervals: list[list[float]]) -> None:
    rows = [{"accuracy": value, "accuracy_low": low, "accuracy_high": high} for low, value, high in intervals]
    winner = find_winner(rows)
    above = [row for row in rows if all(row["accuracy_low"] > o["accuracy_high"] for o in rows if o is not row)]
    assert ([] if winner is None else [winner]) == above
    assert find_winner([*rows, *rows]) is None or not rows


def test_runs_of_other_data_or_other_attacks_are_not_compared(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)

    def against(**changes: Any) -> tuple[set[str], list[str]]:
        other = run.model_copy(update={"name": "other", **changes})
        measures = {row["measure"] for row in compare_across((run, other), store)}
        return measures, [note.text for note in list_incomparable((run, other))]

    assert against() == ({"clean", "static", "attacked", "worst case"}, [])
    measures, (note,) = against(data="ebhi_seg")
    assert measures == set()
    assert "different data sets" in note
    measures, (note,) = against(**with_settings(run, {"name": "cw", "max_iterations": 2}))
    assert measures == {"clean"}
    assert "different attacks or settings" in note
    assert against(data="folder", labels=("cancer", "other"))[0] == set()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_index_sorts_in_a_browser(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    for run in two_runs(store):
        compute_result(store, run)
    page = Path(write_index(store))
    for width in (1280, 390):
        seen = look(page, width, click="#models-1 th:nth-child(4)")
        assert (seen.errors, seen.overflow) == ([], 0)
        column = [float(text.split()[0]) for text in seen.column]
        assert column == sorted(column)
        assert len(set(column)) > 1
