"""The table of the candidates of a search, from the manifest of the model that was chosen."""

from pathlib import Path
from typing import Any

from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.run import Run
from raypipe.report.details import tabulate_candidates
from raypipe.report.layout import Book
from raypipe.report.page.report import write_report
from raypipe.report.sections import list_sections
from raypipe.storage.store import Store
from tests.evaluation.handmade import HARDENED, hand_run


def searched_run(store: Store, records: list[dict[str, Any]], chosen: str) -> Run:
    run = hand_run(store)
    (model,) = (subject.key for subject in run.subjects if subject.id == HARDENED)
    store.publish("model", model, {"candidates": records, "chosen": chosen})
    return run


def test_the_report_lists_every_candidate_with_its_settings_state_and_figure(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    shared = {"name": "trades", "epochs": 4, "norm": "linf", "eps": 4 / 255}
    records = [
        {"key": "a", "defense": {**shared, "beta": 1.0}, "state": "finished", "epochs": 4, "score": 0.5},
        {"key": "b", "defense": {**shared, "beta": 6.0}, "state": "finished", "epochs": 4, "score": 0.625},
        {"key": "c", "defense": {**shared, "beta": 9.0}, "state": "stopped", "epochs": 1, "score": 0.25},
        {
            "key": "d",
            "defense": {**shared, "beta": 12.0, "eps": 8 / 255},
            "state": "diverged",
            "epochs": 0,
            "score": None,
        },
    ]
    run = searched_run(store, records, chosen="b")
    result = compute_result(store, run)
    table = tabulate_candidates(Book.from_result(result))
    assert table is not None
    assert [[cell.text for cell in row][1:] for row, _ in table.lines()] == [
        ["1", "eps: 4/255, beta: 1", "finished", "robust accuracy", "4 of 4", "50.0"],
        ["2", "eps: 4/255, beta: 6", "chosen", "robust accuracy", "4 of 4", "62.5"],
        ["3", "eps: 4/255, beta: 9", "stopped", "robust accuracy", "1 of 4", "25.0"],
        ["4", "eps: 8/255, beta: 12", "diverged", "robust accuracy", "0 of 4", "-"],
    ]
    html = Path(write_report(run, result, store)).read_text()
    assert "Search of settings: what was tried" in html
    assert "No candidate was rated on test tiles" in html
    assert "candidates" in dict(list_sections(Book.from_result(result)))


def test_a_search_of_static_training_is_rated_by_clean_and_static_accuracy(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    validation = {"clean": 1.0, "perturbed": 0.5}
    records = [
        {"key": name, "defense": {"mix": mix, "epochs": 3}, "validation": validation}
        for name, mix in (("a", 0.3), ("b", 0.5))
    ]
    book = Book.from_result(compute_result(store, searched_run(store, records, chosen="a")))
    table = tabulate_candidates(book)
    assert table is not None
    assert [[cell.text for cell in row][1:] for row, _ in table.lines()] == [
        ["1", "mix: 0.3", "chosen", "clean and static accuracy", "3 of 3", "75.0"],
        ["2", "mix: 0.5", "finished", "clean and static accuracy", "3 of 3", "75.0"],
    ]


def test_a_run_without_a_search_has_no_such_table(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    assert tabulate_candidates(Book.from_result(compute_result(store, hand_run(store)))) is None
