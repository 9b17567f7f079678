"""Overview of all threats, on the run whose figures can be computed manually."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raypipe.base.threat import ThreatModel
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.overview import COLUMNS, Model, choose_headline_ball
from raypipe.evaluation.results.run import CorruptedRecord, ExternalRecord, PairingRecord, Run
from raypipe.report.figures.overview import draw_overview_panel
from raypipe.report.layout import Book
from raypipe.report.overview import describe_hardened, tabulate_overview, tabulate_overview_differences
from raypipe.storage.schemas import CORRUPTED
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, HARDENED, IDS, LABELS, hand_run, key, perturb, predict

WRONG = [1 - label for label in LABELS]


def corrupt(store: Store, name: str, correct: list[int]) -> str:
    """Store predictions for five severities; at severity s the first tiles `correct[s]` are right. Return the key."""
    predictions = [[LABELS[place] if place < most else WRONG[place] for most in correct] for place in range(8)]
    columns = {"sample_id": IDS, "group_id": [name[0] for name in IDS], "label": LABELS, "clean_prediction": LABELS}
    table = pa.table({**columns, "predictions": predictions}, schema=CORRUPTED)
    store.write_table(f"{store.artifact('corrupted', key(name))}/part.parquet", table)
    store.publish("corrupted", key(name), {})
    return key(name)


def attack(store: Store, name: str, subject: str, said: list[int], **more: Any) -> PairingRecord:
    """Store the tiles and predictions of another attack on a model, and return its record."""
    tiles = perturb(store, f"tiles {name}", clean=LABELS, said=said, steps=[9] * 8)
    protocol = "adaptive" if subject == HARDENED else "white-box"
    return PairingRecord(subject=subject, protocol=protocol, role="evaluation", tiles=tiles,
                         predictions=predict(store, name, said), source=subject, **more)  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Book]:
    store = Store.open(str(tmp_path_factory.mktemp("overview")))
    run = hand_run(store)
    levels = (1.0, 2.0, 3.0, 4.0, 5.0)
    corrupted = [
        CorruptedRecord(
            subject=subject, corruption=name, levels=levels, key=corrupt(store, f"{subject}{name}", correct)
        )
        for subject, name, correct in (
            (CLEAN, "noise", [8, 8, 7, 6, 4]),
            (CLEAN, "hue", [8, 8, 8, 8, 8]),
            (HARDENED, "noise", [6, 6, 6, 6, 6]),
            (HARDENED, "hue", [8, 6, 4, 2, 1]),
        )
    ]
    patch = {"attack": "patch", "method": "adversarial_patch", "threat": ThreatModel("none", None, limits="a patch")}
    attacks = (
        attack(store, "patch old", CLEAN, WRONG, **patch),
        attack(store, "patch new", HARDENED, [*LABELS[:6], *WRONG[6:]], **patch),
    )
    run = run.model_copy(update={"corrupted": tuple(corrupted), "pairings": (*run.pairings, *attacks)})
    return run, Book.from_result(compute_result(store, run))


def find(book: Book, subject: str, threat: str) -> dict[str, Any]:
    (row,) = (row for row in book.overview if (row["subject"], row["threat"]) == (subject, threat))
    return row


def test_each_share_is_counted_by_hand(measured: tuple[Run, Book]) -> None:
    _, book = measured
    shares = {place: find(book, *place)["accuracy"] for place in {(r["subject"], r["threat"]) for r in book.overview}}
    assert shares == pytest.approx(
        {
            (CLEAN, "clean"): 7 / 8,
            (HARDENED, "clean"): 1.0,
            (CLEAN, "natural corruptions"): (33 + 40) / 80,
            (HARDENED, "natural corruptions"): (30 + 21) / 80,
            (CLEAN, "worst corruption"): 4 / 8,
            (HARDENED, "worst corruption"): 1 / 8,
            (CLEAN, "patch"): 0.0,
            (HARDENED, "patch"): 6 / 8,
            (CLEAN, "worst case"): 0.0,
            (HARDENED, "worst case"): 5 / 8,
        }
    )
    assert find(book, HARDENED, "worst corruption")["detail"] == "hue, severity 5"
    assert find(book, HARDENED, "patch")["detail"] == "a patch"
    assert find(book, HARDENED, "natural corruptions")["groups"] == 4


def test_differences_are_those_to_the_undefended_model(measured: tuple[Run, Book]) -> None:
    _, book = measured
    for row in book.overview:
        if row["subject"] == HARDENED:
            theirs = find(book, CLEAN, row["threat"])
            assert row["against"] == CLEAN
            assert row["difference"] == pytest.approx(row["accuracy"] - theirs["accuracy"])
            assert row["difference_low"] <= row["difference"] <= row["difference_high"]
        else:
            assert row["against"] is None
            assert row["difference"] is None


def test_the_table_has_a_column_for_each_threat_and_a_dash_where_nothing_was_measured(
    measured: tuple[Run, Book],
) -> None:
    _, book = measured
    table = tabulate_overview(book)
    assert table is not None
    headings = [column.heading for column in table.columns]
    assert headings == ["model", "clean", "natural corruptions", "worst corruption", "patch", "worst case"]
    without = [row for row in book.overview if (row["subject"], row["threat"]) != (CLEAN, "patch")]
    smaller = tabulate_overview(Book(**{**vars_of(book), "overview": without}))
    assert smaller is not None
    (first, _), _ = smaller.lines()
    assert first[headings.index("patch")].text == "-"


def vars_of(book: Book) -> dict[str, Any]:
    return {name: getattr(book, name) for name in book.__dataclass_fields__}


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (-0.3, -0.1, "The defense costs natural robustness."),
        (0.1, 0.3, "The defense adds natural robustness."),
        (-0.1, 0.1, "No effect on natural robustness is shown."),
    ],
)
def test_a_sentence_says_what_the_defense_buys_and_costs(
    measured: tuple[Run, Book], low: float, high: float, sentence: str
) -> None:
    _, book = measured
    bounds = {"natural corruptions": (low, high), "patch": (0.5, 0.9)}
    rows = [
        row | dict(zip(("difference_low", "difference_high"), bounds.get(row["threat"], (-0.1, 0.9)), strict=True))
        for row in book.overview
    ]
    first, *_ = describe_hardened(Book(**{**vars_of(book), "overview": rows}))
    assert "minus the undefended model" in first.text
    gains, _, rest = first.text.partition("gains: ")[2].partition(";")
    assert "patch +75.0 [+50.0, +90.0]" in gains
    assert ("natural corruptions" in gains) == (low > 0)
    assert ("loses: natural corruptions" in rest) == (high < 0)
    assert ("no difference is shown: clean, natural corruptions" in rest) == (low < 0 < high)
    assert first.text.endswith(sentence)


def test_the_number_of_intervals_is_said_beside_them(measured: tuple[Run, Book]) -> None:
    """Some of many intervals exclude 0 by chance alone."""
    _, book = measured
    count = sum(row["difference_low"] is not None for row in book.overview)
    sentence = f"The {count} intervals are not adjusted for their number"
    *_, last = describe_hardened(book)
    table = tabulate_overview_differences(book)
    assert table is not None
    assert count > 1
    assert sentence in last.text
    assert sentence in table.caption


def test_a_table_has_every_difference_in_the_color_of_its_sign(measured: tuple[Run, Book]) -> None:
    _, book = measured
    sure = [row | {"difference_low": 0.5} if row["threat"] == "patch" else row for row in book.overview]
    table = tabulate_overview_differences(Book(**{**vars_of(book), "overview": sure}))
    assert table is not None
    headings = [column.heading for column in table.columns]
    ((row, _),) = table.lines()
    patch = row[headings.index("patch")]
    assert (patch.text.split()[0], patch.tone) == ("+75.0", "good")
    shown = {name: cell.text for name, cell in zip(headings, row, strict=True)}
    for own in book.overview:
        if own["difference"] is not None and own["threat"] != "patch":
            assert shown[own["threat"]].startswith(f"{100 * own['difference']:+.1f} [")
    undefended = [row for row in book.overview if row["difference"] is None]
    assert tabulate_overview_differences(Book(**{**vars_of(book), "overview": undefended})) is None


def test_the_figure_names_every_share(measured: tuple[Run, Book]) -> None:
    _, book = measured
    panel = draw_overview_panel(book)
    assert panel is not None
    (drawing,) = panel.drawings
    assert "worst corruption 12.5 %" in drawing


def test_a_run_with_attacks_in_a_ball_only_has_no_view(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    book = Book.from_result(compute_result(store, hand_run(store)))
    assert tabulate_overview(book) is None
    assert draw_overview_panel(book) is None


def test_the_ball_is_that_of_the_report(measured: tuple[Run, Book]) -> None:
    run, book = measured
    assert choose_headline_ball(run) == ("linf", 2 / 255)
    assert book.headline == "linf <= 2/255"


def test_external_tiles_of_all_sets_count_together(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    labels = {"cancer": "cancer", "benign": "benign"}
    external = tuple(
        ExternalRecord(subject=HARDENED, set_id=name, labels=labels, tiles="ab", predictions=predict(store, name, said),
                       overlap=None)
        for name, said in (("east", LABELS), ("west", [*LABELS[:2], *WRONG[2:]]))
    )  # fmt: skip
    run = run.model_copy(update={"external": external})
    (hardened,) = (subject for subject in run.subjects if subject.id == HARDENED)
    found = COLUMNS["external"](Model(hardened, run, Artifacts(store), None, {}))
    assert found is not None
    assert found.correct.mean() == pytest.approx(10 / 16)
    assert len(set(found.ids)) == 16
    assert len(set(found.groups)) == 8, "groups of two hospitals differ even if their names are equal"
    assert found.detail == "east, west"
