import io
from typing import Any

import pyarrow as pa
from rich.console import Console

from raypipe.evaluation.records import COLUMNS
from raypipe.report.paper import reported
from raypipe.report.tables import result_tables
from raypipe.schemas import RESULTS


def record(column: str, accuracy: float, **changes: Any) -> dict[str, Any]:
    return {
        "model": "googlenet", "attack": "cw", "defense": "adversarial_training", "column": column,
        "backbone": "googlenet", "method": "carlini_wagner_l2", "tiles": 200, "accuracy": accuracy,
        "labels": ["benign", "cancer"], "precision": [0.5, 1.0], "recall": [1.0, 0.25], "f1": [0.66, 0.4],
        "support": [100, 100], "confusion": [[100, 0], [75, 25]], "model_key": "m", "tiles_key": "t",
        "predictions_key": column, "stamps": [], **changes,
    }  # fmt: skip


def shown(records: list[dict[str, Any]]) -> str:
    console = Console(width=160, file=io.StringIO())
    for table in result_tables(pa.Table.from_pylist(records, schema=RESULTS)):
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_measured_stands_beside_reported() -> None:
    text = shown([record(column, accuracy) for column, accuracy in zip(COLUMNS, (0.91, 0.0, 0.92, 0.867), strict=True)])
    row = next(line for line in text.splitlines() if "91.0 (99)" in line)
    assert "0.0 (1)" in row
    assert "92.0 (-)" in row
    assert "86.7 (81)" in row
    assert "50 100 66" in text
    assert "100 25 40" in text


def test_the_static_column_never_comes_without_its_reservation() -> None:
    assert "is a static evaluation" in shown([record(column, 0.5) for column in COLUMNS])


def test_stamps_stand_under_both_tables() -> None:
    text = shown([record(column, 0.5, stamps=["LEAKY: x", "SYNTHETIC: y"]) for column in COLUMNS])
    assert text.count("LEAKY: x") == text.count("SYNTHETIC: y") == 2


def test_a_run_without_defenses_has_no_columns_for_them() -> None:
    text = shown([record(column, 0.5, defense=None) for column in COLUMNS[:2]])
    assert "robust on" not in text
    assert "static" not in text


def test_what_the_paper_does_not_report_is_not_made_up() -> None:
    assert reported("normal", "densenet121", "deepfool", None) is None
    assert reported("attacked", "resnet18", "pgd", None) is None
    assert reported("robust_on_perturbed", "resnet18", "deepfool", "adversarial_training") == "at most 81"
