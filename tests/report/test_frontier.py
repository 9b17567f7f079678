"""The frontier of clean against robust accuracy: its points, its figure, and the cost of each training."""

import re
from pathlib import Path
from typing import Any

import pytest

from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.run import Run
from raypipe.evaluation.results.trainings import compute_trainings
from raypipe.report.figures.curves import draw_curves_panel
from raypipe.report.figures.frontier import draw_frontier_panel
from raypipe.report.frontier import EQUAL, find_undominated, list_frontiers, list_unequal_costs, tabulate_frontier
from raypipe.report.layout import Book
from raypipe.report.page.report import write_report
from raypipe.report.sections import list_sections
from raypipe.storage.store import MANIFEST, Store
from tests.evaluation.handmade import CLEAN, HARDENED, hand_run

OTHER = "net/trades"


def cost(forwards: int) -> dict[str, Any]:
    return {"forwards": forwards, "backwards": forwards, "seconds": 2.0, "device": "cpu"}


def stored_run(store: Store, *, trades: int = 70) -> Run:
    """Return the hand-made run with a third model, trained by TRADES, and with the manifests of all trainings."""
    run = hand_run(store)
    clean, hardened = run.subjects
    other = hardened.model_copy(update={"id": OTHER, "defense": "trades", "hardened_on": None, "key": "ab" * 10})
    learned = "cd" * 10
    store.publish("adversarials", learned, {"stage": "attack", "inputs": {}, "cost": cost(30)})
    store.publish("model", clean.key, {"stage": "train", "inputs": {}, "spec": {}, "cost": cost(100)})
    inputs = {"tiles": "00" * 10, "model": clean.key}
    spec = {"defense": {"name": "adversarial_training"}}
    static = {"stage": "harden", "spec": spec, "inputs": {**inputs, "adversarials": learned}, "cost": cost(40)}
    store.publish("model", hardened.key, static)
    spec = {"defense": {"name": "trades"}}
    store.publish("model", other.key, {"stage": "harden", "spec": spec, "inputs": inputs, "cost": cost(trades)})
    pairings = [
        pairing.model_copy(update={"subject": OTHER, **({"source": OTHER} if pairing.source == HARDENED else {})})
        for pairing in run.pairings
        if pairing.subject == HARDENED
    ]
    return run.model_copy(update={"subjects": (clean, hardened, other), "pairings": (*run.pairings, *pairings)})


def book_of(folder: Path, **costs: int) -> Book:
    store = Store.open(str(folder))
    return Book.from_result(compute_result(store, stored_run(store, **costs)))


def test_the_cost_of_a_hardening_includes_all_that_it_learned_from(tmp_path: Path) -> None:
    rows = {row["subject"]: row for row in book_of(tmp_path).trainings}
    assert [rows[name]["forwards"] for name in (CLEAN, HARDENED, OTHER)] == [100, 100 + 30 + 40, 100 + 70]
    assert [rows[name]["hardening_passes"] for name in (CLEAN, HARDENED, OTHER)] == [None, 80, 140]
    assert [rows[name]["kind"] for name in (CLEAN, HARDENED, OTHER)] == [
        "undefended",
        "static training",
        "online training",
    ]
    assert rows[HARDENED]["seconds"] == 6


def test_a_hardening_that_starts_from_published_weights_does_not_need_the_undefended_model(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = stored_run(store)
    other = run.subjects[2].key
    manifest = store.manifest("model", other)
    assert manifest
    spec = {"defense": {"name": "trades", "start": "weights"}}
    store.write_record(f"{store.artifact('model', other)}/{MANIFEST}", {**manifest, "spec": spec})
    assert list(compute_trainings(run, store))[2]["forwards"] == 70


def test_a_model_without_a_stored_cost_has_none(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    book = Book.from_result(compute_result(store, hand_run(store)))
    assert [row["forwards"] for row in book.trainings] == [None, None]
    table = tabulate_frontier(book)
    assert table is not None
    assert [[cell.text for cell in row][-4:] for row, _ in table.lines()] == [["-"] * 4] * 2
    assert not list(list_unequal_costs(book))


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        ([(0.9, 0.1), (0.8, 0.5), (0.7, 0.4)], [1, 0]),
        ([(0.9, 0.1), (0.9, 0.2)], [1]),
        ([(0.9, 0.1), (0.9, 0.1)], [0, 1]),
        ([], []),
    ],
)
def test_the_frontier_has_the_points_that_no_other_beats(points: list[tuple[float, float]], kept: list[int]) -> None:
    assert find_undominated(points) == kept


def test_every_model_has_a_point_with_intervals_in_both_directions(tmp_path: Path) -> None:
    book = book_of(tmp_path)
    panel = draw_frontier_panel(book)
    assert panel is not None
    (drawing,) = panel.drawings  # one backbone, and one bound
    label = re.search(r'aria-label="([^"]*)"', drawing)
    assert label
    for text in ("of net within", "1 undefended, 88 % clean", "2 at, cw, 100 % clean and 62 %"):
        assert text in label[1], text
    assert "On the frontier: 2 at, cw" in label[1]
    table = tabulate_frontier(book)
    assert table is not None
    figures = [[cell.text for cell in row] for row, _ in table.lines()]
    assert [row[1:4] for row in figures] == [["1", "87.5", "0.0"], ["2", "100.0", "62.5"], ["3", "100.0", "62.5"]]
    assert all(cell.below for row, _ in table.lines() for cell in row[2:4]), "intervals"
    assert [row[5:7] for row in figures] == [["200", "0.59"], ["340", "1.00"], ["340", "1.00"]]
    assert {key.mark for key in panel.keys} == {"o", "s", "^", ""}


def test_a_color_means_the_same_defense_as_in_the_curves(tmp_path: Path) -> None:
    book = book_of(tmp_path)
    panel, curves = draw_frontier_panel(book), draw_curves_panel(book)
    assert panel
    assert curves
    expected = {key.name: key.color for key in curves.keys}
    assert {key.name: key.color for key in panel.keys if key.mark} == expected


@pytest.mark.parametrize(("trades", "warned"), [(70, False), (100, False), (200, True)])
def test_unequal_costs_are_warned_of(tmp_path: Path, trades: int, warned: bool) -> None:
    book = book_of(tmp_path, trades=trades)
    notes = list(list_unequal_costs(book))
    assert bool(notes) == warned
    sections = dict(list_sections(book))
    assert [note for note in sections["frontier"].notes if note.tone == "warn"] == notes
    if warned:
        assert (100 + trades) / 170 > EQUAL
        assert notes[0].text.startswith(f"net: training costs differ. {OTHER} took 1.8 times the passes of {HARDENED}")


def test_a_run_without_hardened_models_has_no_frontier(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = stored_run(store)
    alone = tuple(pairing for pairing in run.pairings if pairing.subject == CLEAN)
    changes = {"subjects": run.subjects[:1], "pairings": alone}
    book = Book.from_result(compute_result(store, run.model_copy(update=changes)))
    assert list_frontiers(book) == []
    assert draw_frontier_panel(book) is None
    assert tabulate_frontier(book) is None


def test_the_page_shows_figure_table_and_warning(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = stored_run(store, trades=200)
    html = Path(write_report(run, compute_result(store, run), store)).read_text()
    fold = html[html.index('id="frontier"') :].split("</details>", maxsplit=1)[0]
    assert "<svg" in fold
    assert "training costs differ" in fold
    assert "Clean and robust accuracy by cost of training" in fold
    assert "#0d0d" not in fold, "every color is a variable of the page"
