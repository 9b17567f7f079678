"""Declared metrics by class, and digests of what was tested: the tables that stand beside the evidence."""

import hashlib
from collections.abc import Iterator

from raypipe.evaluation.results.run import Run
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.models.model_file import MODEL_FILE
from raypipe.report.cells import format_model
from raypipe.report.layout import Book, Row, format_interval
from raypipe.report.names import name_class_in_full
from raypipe.report.scope import describe_attacked_tiles, describe_test_tiles
from raypipe.report.sheet import Cell, Sheet
from raypipe.storage.bill_of_materials import BILL_FILE
from raypipe.storage.environment import read_environment
from raypipe.storage.store import Store

METRICS = ("recall", "precision", "f1")
UNKNOWN = "not recorded"
"""Digest of a file that does not exist, for example because all results of the run were cached."""


def tabulate_declared_metrics(book: Book, *subjects: str) -> Sheet:
    """Return a table of the metrics of each class: clean on the full test set, and recall in the worst case.

    Parameters
    ----------
    subjects
        Ids of the models to show; all models if there are none.
    """
    title = "Declared metrics by class, and their 95 % intervals, in %"
    table = Sheet(f"{title}; {describe_test_tiles(book)}; worst case: {describe_attacked_tiles(book)}")
    table.add_columns("model", "class")
    table.add_columns("tiles", "recall", "precision", "F1", f"recall in the worst case, {book.headline}", figures=True)
    for subject in subjects or book.subjects:
        clean, worst = book.subjects[subject], book.find_headline_case(subject)
        for number, label in enumerate(clean["labels"]):
            metrics = (format_interval(select_class_metric(clean, name, number), name=name) for name in METRICS)
            attacked = format_interval(select_class_metric(worst, "recall", number) if worst else None, name="recall")
            tiles = str(clean["support"][number])
            table.add_row(format_model(book, subject), name_class_in_full(label), tiles, *metrics, attacked)
        table.add_section()
    table.caption = METHOD
    return table


def select_class_metric(row: Row, name: str, number: int) -> Row | None:
    """Return a metric of one class of a record with its interval; None where the record does not have it."""
    columns = (name, f"{name}_low", f"{name}_high")
    return {column: row[column][number] for column in columns} if row[name] else None


def tabulate_digests(run: Run, store: Store) -> Sheet:
    """Return a table of the digests of data, models, code and software of a run."""
    table = Sheet("Digests of data, models, code and software")
    table.add_columns("what", "digest")
    for what, digest in list_digests(run, store):
        table.add_row(what, Cell(digest, tone="dim" if digest == UNKNOWN else ""))
    table.caption = (
        "A content key is a hash of all settings and inputs that determine an artifact. The fingerprint of the data is "
        "computed from the files of the data set. The serial number of the bill of materials is computed from the "
        "names and versions of all installed packages."
    )
    return table


def list_digests(run: Run, store: Store, subject: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield the digests of a run, or of one of its models: a name and the digest of each.

    Parameters
    ----------
    subject
        Id of a model; None for all models.
    """
    chosen = [each for each in run.subjects if subject in (None, each.id)]
    for key in dict.fromkeys(run.find_clean_pairing(each.id).tiles for each in chosen):
        fingerprint = (store.manifest("tiles", key) or {}).get("spec", {}).get("fingerprint", UNKNOWN)
        yield f"data set {run.data}, fingerprint", fingerprint
        yield "tiles, content key", key
    for each in chosen:
        path = f"{store.artifact('model', each.key)}/{MODEL_FILE}"
        yield f"model {each.id}, content key", each.key
        yield f"model {each.id}, SHA-256 of {MODEL_FILE}", _compute_sha256(store, path)
    environment = read_environment(store, run.name)
    version = environment.packages.get("raypipe", UNKNOWN) if environment else UNKNOWN
    commit = f", commit {environment.commit}" if environment and environment.commit else ""
    yield "code, raypipe", f"{version}{commit}"
    bill = f"runs/{run.name}/{BILL_FILE}"
    number = store.read_json(bill)["serialNumber"] if store.exists(bill) else UNKNOWN
    yield f"software, serial number of {BILL_FILE} (CycloneDX)", number
    yield "settings, SHA-256 of experiment.yaml", _compute_sha256(store, f"runs/{run.name}/experiment.yaml")


def _compute_sha256(store: Store, path: str) -> str:
    return hashlib.sha256(store.read_bytes(path)).hexdigest() if store.exists(path) else UNKNOWN
