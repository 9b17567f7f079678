"""Evidence for regulators: what a run measured, by document, with metrics by class and digests."""

import hashlib

import pytest

from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.run import Run
from raypipe.report.declaration import UNKNOWN, list_digests, tabulate_declared_metrics
from raypipe.report.evidence import EVIDENCE, NOT_TESTED, REQUIREMENTS, tabulate_evidence
from raypipe.report.layout import Book
from raypipe.storage.bill_of_materials import BILL_FILE
from raypipe.storage.environment import describe_environment, write_environment
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, HARDENED, hand_run


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Book, Store]:
    store = Store.open(str(tmp_path_factory.mktemp("evidence")))
    run = hand_run(store)
    return run, Book.from_result(compute_result(store, run)), store


def rows_of(book: Book) -> list[tuple[str, ...]]:
    return [tuple(cell.text for cell in row) for row, _ in tabulate_evidence(book).lines()]


def test_every_request_is_a_row_with_what_was_measured_and_what_was_not(measured: tuple[Run, Book, Store]) -> None:
    _, book, _ = measured
    rows = {(document, place): (found, missing) for document, place, _, found, missing in rows_of(book)}
    assert len(rows) == len(REQUIREMENTS)
    found, missing = rows["MITRE ATLAS", "AML.T0043.000"]
    assert (found, missing) == ("white-box attacks", "patches; universal perturbation")
    assert rows["MITRE ATLAS", "AML.T0020"] == ("-", "no run of raypipe measures this")
    found, missing = rows["ISO/IEC TR 24029-1, robustness of neural networks", "Formal methods"]
    assert (found, missing) == ("-", "certificates")


def test_more_measurements_are_more_evidence(measured: tuple[Run, Book, Store]) -> None:
    _, book, _ = measured
    certified = Book(**{**{name: getattr(book, name) for name in book.__dataclass_fields__}, "certified": [{"a": 1}]})
    before, after = (sum(cells[3].count("certificates") for cells in rows_of(each)) for each in (book, certified))
    assert before == 0
    assert after == sum("certificates" in each.answers for each in REQUIREMENTS)


def test_records_name_known_evidence_and_each_kind_of_evidence_is_asked_for() -> None:
    named = {answer for each in REQUIREMENTS for answer in each.answers}
    assert named == set(EVIDENCE)
    assert all(each.asks.endswith(".") for each in REQUIREMENTS)


def test_nothing_claims_compliance() -> None:
    texts = [text for each in REQUIREMENTS for text in (each.place, each.asks)] + list(NOT_TESTED)
    assert not [text for text in texts if "complian" in text.lower() or "complies" in text.lower()]
    assert any("poisoning" in text for text in NOT_TESTED)
    assert any("extraction" in text for text in NOT_TESTED)


def test_metrics_of_each_class_have_intervals(measured: tuple[Run, Book, Store]) -> None:
    _, book, _ = measured
    table = tabulate_declared_metrics(book, CLEAN)
    (cancer, _), (benign, _) = table.lines()
    assert [cell.text for cell in cancer[1:6]] == ["cancer", "4", "100.0", "80.0", "88.9"]
    assert [cell.text for cell in benign[1:4]] == ["benign", "4", "75.0"]
    assert all("-" in cell.below for cell in (*cancer[3:6], *benign[3:6]))
    assert cancer[6].text == "0.0", "each cancer is fooled within 2/255"
    assert len(list(tabulate_declared_metrics(book).lines())) == 4


def test_digests_are_of_the_stored_files(measured: tuple[Run, Book, Store]) -> None:
    run, _, store = measured
    before = dict(list_digests(run, store, HARDENED))
    bill = f"software, serial number of {BILL_FILE} (CycloneDX)"
    assert before[bill] == before["code, raypipe"] == UNKNOWN
    write_environment(store, run.name, describe_environment(1, {}))
    (model,) = (each.key for each in run.subjects if each.id == HARDENED)
    store.write_bytes(f"{store.artifact('model', model)}/model.safetensors", b"weights")
    found = dict(list_digests(run, store, HARDENED))
    assert found[bill] == store.read_json(f"runs/{run.name}/{BILL_FILE}")["serialNumber"]
    assert found[f"model {HARDENED}, SHA-256 of model.safetensors"] == hashlib.sha256(b"weights").hexdigest()
    assert found[f"model {HARDENED}, content key"] == model
    assert not any(CLEAN + "," in name for name in found)
