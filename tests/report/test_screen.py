"""The last screen of a run: its conclusion, one table, the report, and what to do next."""

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from raypipe.base.errors import ConfigError
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.result import RunResult
from raypipe.report.layout import Book
from raypipe.report.screen import MOST_ROWS, render_evaluation, render_results, render_run, tabulate_summary
from raypipe.report.tables import find_section, render_section
from raypipe.storage.store import Store
from tests.evaluation.handmade import hand_run

WIDTH, HEIGHT = 80, 40


@pytest.fixture
def result(tmp_path: Path) -> RunResult:
    store = Store.open(str(tmp_path))
    return compute_result(store, hand_run(store))


def shown(*parts: RenderableType, width: int = WIDTH) -> str:
    console = Console(width=width, file=io.StringIO())
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def last_screen(book: Book, storage: str = "results", report: str = "report.html") -> tuple[RenderableType, ...]:
    return tuple(render_run(book, run="hand", storage=storage, folder="results/runs/hand", report=report))


def with_models(result: RunResult, count: int) -> Book:
    """Return the rows of a run with as many copies of its hardened model as are needed for a number of models."""
    book = Book.from_result(result)
    hardened = [row for row in book.records if row["defense"]]
    copies = [{**row, "subject": f"copy{number}", "hardened_on": f"attack{number}"}
              for number in range(count - 2) for row in hardened]  # fmt: skip
    return Book(book.records + copies, book.curves, [], [], [], [], [], [])


def test_the_summary_has_a_row_for_each_model_below_the_one_it_was_hardened_from(result: RunResult) -> None:
    rows = [[cell.text for cell in row] for row, _ in tabulate_summary(Book.from_result(result)).lines()]
    assert [row[:4] for row in rows] == [["net", "88", "-", "0"], ["  at, cw", "100", "88", "50"]]
    assert rows[1][4].startswith("62 [")
    assert [row[5] for row in rows] == ["not run", "not run"]


@pytest.mark.parametrize("name", ["adversarial_training", "a"])
def test_a_run_ends_on_one_screen(result: RunResult, name: str) -> None:
    text = shown(*last_screen(Book.from_result(result), report=f"/home/{name}/results/runs/hand/report.html"))
    lines = text.splitlines()
    assert len(lines) < HEIGHT
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].startswith("On 8 test tiles from 4 groups")
    assert "raypipe report hand --open" in text
    assert "raypipe results hand --all" in text
    assert "raypipe evaluate MODEL FOLDER" in text


def test_the_screen_names_the_storage_that_its_commands_need(result: RunResult) -> None:
    text = shown(*last_screen(Book.from_result(result), "s3://bucket/runs"), width=160)
    assert "raypipe report hand --open --storage s3://bucket/runs" in text


def test_the_evaluation_of_one_model_ends_on_one_screen(result: RunResult) -> None:
    places = {"storage": "evaluated", "folder": "evaluated/runs/hand", "report": "evaluated/runs/hand/report.html"}
    text = shown(*render_evaluation(Book.from_result(result), run="hand", **places))
    assert len(text.splitlines()) < HEIGHT
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.count("Report:") == 1
    assert "raypipe report hand --open --storage evaluated" in text
    assert "Not measured, because they need other models" in text


def test_many_models_still_fit_a_screen(result: RunResult) -> None:
    text = shown(*last_screen(with_models(result, 50)))
    assert len(text.splitlines()) <= HEIGHT
    assert f"{50 - MOST_ROWS} more models: --table robustness" in text


def test_stored_results_name_their_further_tables(result: RunResult) -> None:
    text = " ".join(shown(*render_results(Book.from_result(result))).split())
    assert "--table robustness, metrics, paper, attacks, frontier, clinical-errors, distortions" in text


def test_one_table_is_shown_by_its_name(result: RunResult) -> None:
    text = shown(render_section(find_section(result, "attacks")), width=160)
    assert text.startswith("Accuracy of every model under every attack")
    assert "Table 2" not in text
    with pytest.raises(ConfigError, match=r"--table(.|\n)*atacks: expected one of robustness.*did you mean 'attacks'"):
        find_section(result, "atacks")
