import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from raypipe.evaluation.results.across import compare_across
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.result import RunResult
from raypipe.evaluation.results.run import PairingRecord
from raypipe.evaluation.statistics.calibration import METHOD as CALIBRATION_METHOD
from raypipe.evaluation.statistics.intervals import DIFFERENCE_METHOD, METHOD
from raypipe.report.compare import tabulate_run_differences, tabulate_side_by_side
from raypipe.report.layout import Book
from raypipe.report.leaderboard import rank_models
from raypipe.report.paper import find_reported
from raypipe.report.paper_tables import build_table_3
from raypipe.report.robustness import choose_static, find_strongest, tabulate_attacks
from raypipe.report.sections import list_sections
from raypipe.report.sheet import Sheet
from raypipe.report.tables import render_tables
from raypipe.storage.store import Store
from tests.evaluation.handmade import hand_run


def shown(result: RunResult) -> str:
    console = Console(width=200, file=io.StringIO())
    for table in render_tables(result):
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def text_of(folder: Path, **changes: object) -> str:
    store = Store.open(str(folder))
    return shown(compute_result(store, hand_run(store).model_copy(update=changes)))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return text_of(tmp_path_factory.mktemp("store"))


def section(text: str, title: str) -> str:
    """Return a table of a text, from its title to the next one's."""
    return text[text.index(title) :].split("\n\n", maxsplit=1)[0]


def test_what_static_evaluation_hides_stands_first_beside_it(text: str) -> None:
    lines = section(text, "Robustness.").splitlines()
    row = lines[next(number for number, line in enumerate(lines) if " at, cw" in line) - 1]
    # clean of all and of attacked tiles, static, white-box, no other backbone, worst case of any size, within 2/255
    assert row.split() == ["net", "100.0", "100.0", "87.5", "50.0", "no", "other", "37.5", "62.5"]
    assert "hardened" in next(line for line in lines if "undefended" in line)
    assert text.index("Robustness.") < text.index("Table 1") < text.index("Table 2")


def test_no_model_is_called_robust_without_checks(text: str) -> None:
    assert text.startswith("net: not checked, so it is not called robust.")


def test_measured_stands_beside_reported(text: str) -> None:
    (row,) = (line for line in section(text, "Table 2.").splitlines() if "(99)" in line)
    assert "87.5 (99)" in row
    assert "0.0 (1)" in row
    assert "100.0 (up to 99)" in row
    assert "87.5 (at most 81)" in row
    assert row.split()[-1] == "50.0", "white-box, beside the static figure"


def test_the_static_column_never_comes_without_its_reservation(text: str) -> None:
    assert "is a static evaluation" in section(text, "Table 2.")


def test_static_evaluation_has_the_attacks_of_the_grid_alone() -> None:
    rows = [
        {"protocol": "static", "role": role, "attack": attack, "accuracy": accuracy}
        for role, attack, accuracy in [("grid", "deepfool", 0.9), ("grid", "cw", 0.8), ("evaluation", "patch", 0.1)]
    ]
    assert find_strongest(choose_static(rows), None) == rows[1], "a patch is not part of the paper's protocol"
    assert find_strongest(choose_static(rows), "deepfool") == rows[0]
    assert choose_static(rows[2:]) == rows[2:], "a run without a grid has nothing else"
    assert find_strongest([], None) is None


def test_every_figure_has_its_threat_model(text: str) -> None:
    for title in ("Table 1.", "Table 2."):
        assert "cw: minimal l2, white-box, untargeted" in section(text, title)
    assert "<= 2/255" in section(text, "Robustness.")


def test_every_table_with_an_interval_names_its_method(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    book = Book.from_result(compute_result(store, run))
    others = (
        tabulate_run_differences(compare_across([run, run], store)),
        tabulate_side_by_side({"hand": book}),
        *rank_models(store)[0],
    )
    sheets = [sheet for sheet in (*(sheet for _, (sheet, _) in list_sections(book)), *others) if sheet is not None]
    named = {sheet.title: sheet.caption for sheet in sheets if "quartiles" not in sheet.title and _has_interval(sheet)}
    assert len(named) >= 7
    for title, caption in named.items():
        assert (CALIBRATION_METHOD if title.startswith("Calibration") else METHOD) in caption, title
        assert (DIFFERENCE_METHOD in caption) == title.startswith("Differences"), title


def _has_interval(sheet: Sheet) -> bool:
    cells = [cell for section in sheet.sections for row in section for cell in row]
    return any(re.search(r"\[[\d.-]+, [\d.]+\]|^[\d.]+-[\d.]+$", text) for cell in cells for text in cell[:2])


def test_metrics_of_each_label(text: str) -> None:
    table = section(text, "Table 1.")
    assert "80 100 89" in table  # cancer of the undefended model: 4 of 5 tiles called cancer are, and all 4 are found
    assert "100 75 86" in table


def test_stamps_stand_under_every_table(tmp_path: Path) -> None:
    text = text_of(tmp_path, stamps={"group": ("LEAKY: x", "SYNTHETIC: y")})
    tables = text.count("\nTable ") + text.count("Robustness.")
    assert text.count("LEAKY: x") == text.count("SYNTHETIC: y") > tables


def test_a_run_without_defenses_has_no_columns_for_them(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    alone = {
        "subjects": run.subjects[:1],
        "pairings": tuple(pairing for pairing in run.pairings if pairing.subject == run.subjects[0].id),
    }
    text = shown(compute_result(store, run.model_copy(update=alone)))
    assert "robust on" not in text
    assert "static evaluation" not in text


def as_another_attack(pairing: PairingRecord, store: Store) -> PairingRecord:
    """Return the record of an attack with another id and equal adversarial tiles of its own."""
    key = pairing.tiles[::-1]
    table = store.read_table(f"{store.artifact('adversarials', pairing.tiles)}/part.parquet")
    store.write_table(f"{store.artifact('adversarials', key)}/part.parquet", table)
    store.publish("adversarials", key, store.manifest("adversarials", pairing.tiles) or {})
    return pairing.model_copy(update={"attack": "cw2", "tiles": key})


def test_an_attack_that_repeats_another_under_its_own_name_has_no_row(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    more = tuple(p.model_copy(update={"attack": "cw2"}) for p in run.pairings if p.attack == "cw")
    changed = run.model_copy(update={"pairings": run.pairings + more})
    sheet = tabulate_attacks(Book.from_result(compute_result(store, changed)))
    assert sheet is not None
    assert [column.heading for column in sheet.columns] == ["model", "cw\nminimal l2\nwhite-box, untargeted"]


@pytest.mark.parametrize("models", [1, 2])
def test_the_longer_of_models_and_attacks_goes_down(tmp_path: Path, models: int) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    subjects = run.subjects[:models]
    own = tuple(p for p in run.pairings if p.subject in [subject.id for subject in subjects])
    more = tuple(as_another_attack(p, store) for p in own if p.attack == "cw")
    changed = run.model_copy(update={"subjects": subjects, "pairings": own + more})
    sheet = tabulate_attacks(Book.from_result(compute_result(store, changed)))
    assert sheet is not None
    headings, rows = (
        [column.heading for column in sheet.columns],
        [[cell.text for cell in row] for row, _ in sheet.lines()],
    )
    if models == 1:
        assert headings == ["attack", "bound", "knowledge, goal", "net\nundefended"]
        assert [row[:2] for row in rows] == [["cw", "minimal l2"], ["cw2", "minimal l2"]]
        assert [row[3] for row in rows] == ["0.0", "0.0"]
    else:
        assert headings == ["model", *(f"{name}\nminimal l2\nwhite-box, untargeted" for name in ("cw", "cw2"))]
        assert [row[1] for row in rows] == ["0.0", "50.0"]


def test_seeds_have_a_mean_and_a_spread(tmp_path: Path) -> None:
    """Add the models under another seed with equal figures, so that the spread is 0."""
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    again = {subject.id: f"{subject.id}, seed 1" for subject in run.subjects}
    both = {
        "subjects": run.subjects
        + tuple(
            subject.model_copy(
                update={"id": again[subject.id], "seed": 1, "undefended": again.get(subject.undefended or "")}
            )
            for subject in run.subjects
        ),
        "pairings": run.pairings
        + tuple(
            pairing.model_copy(update={"subject": again[pairing.subject], "source": again.get(pairing.source or "")})
            for pairing in run.pairings
        ),
    }
    table = section(shown(compute_result(store, run.model_copy(update=both))), "Over seeds.")
    (adaptive,) = (line for line in table.splitlines() if "adaptive" in line)
    assert adaptive.split() == ["net", "group", "at", "cw", "adaptive", "cw", "50.0", "0.0", "2"]


def test_what_the_paper_does_not_report_is_not_made_up() -> None:
    assert find_reported("normal", "densenet121", "deepfool") is None
    assert find_reported("attacked", "resnet18", "pgd") is None
    assert find_reported("robust_on_perturbed", "resnet18", "deepfool") is None
    assert find_reported("robust_on_perturbed", "resnet18", "deepfool", hardened_on="deepfool") == "at most 81"


@pytest.mark.parametrize(("backbone", "place"), [("darknet53", 1), ("resnet18", 6)])
def test_an_earlier_system_stands_above_the_same_one_measured_here(tmp_path: Path, backbone: str, place: int) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    undefended, hardened = (subject.model_copy(update={"backbone": backbone}) for subject in run.subjects)
    by_fgsm = tuple(p.model_copy(update={"method": "fgsm"}) if p.method else p for p in run.pairings)
    subjects = (undefended, hardened.model_copy(update={"defense": "adversarial_training"}))
    changed = run.model_copy(update={"subjects": subjects, "pairings": by_fgsm})
    sheet = build_table_3(Book.from_result(compute_result(store, changed)), "mine")
    rows = [[(cell.text, cell.below) for cell in row] for section in sheet.sections for row in section]
    assert rows[0][:2] == [("reported", "DR fundus"), ("DarkNet-53", "")]
    assert [number for number, row in enumerate(rows) if row[0] == ("measured here", "mine")] == [place]
    assert [text for text, _ in rows[place][4:]] == ["87.5", "0.0", "87.5", "50.0"]
