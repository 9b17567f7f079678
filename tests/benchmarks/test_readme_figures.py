"""The record of the README's figures, made from a run whose figures were computed manually, and its table."""

from pathlib import Path

from benchmarks.readme_figures import make_record, readme_table
from raypipe.evaluation.results.compute import compute_result
from raypipe.report.layout import Book
from raypipe.storage.store import Store
from tests.evaluation.handmade import hand_run


def test_a_record_has_the_figures_of_every_model_with_tiles_and_groups(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    record = make_record(Book.from_result(compute_result(store, hand_run(store))), "raypipe run hand.yaml")
    undefended, hardened = record["models"]
    assert (undefended["defense"], undefended["static"]) == (None, None)
    assert (hardened["clean"]["value"], hardened["static"]["value"]) == (1.0, 0.875)
    assert (hardened["clean"]["tiles"], hardened["worst_case"]["value"]) == (8, 0.625)
    table = readme_table(record | {"models": [undefended, hardened | {"attack": "deepfool"}]})
    assert "| 87.5 [" in table
    assert "the 1 hardened" in " ".join(table.split())
    assert "`raypipe run hand.yaml` reproduces it" in table
