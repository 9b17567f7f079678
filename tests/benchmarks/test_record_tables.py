"""The tables of measured models, from small records."""

import json
from pathlib import Path

import pytest

from benchmarks import record_tables


def accuracy(protocol: str, value: float, **where: object) -> dict[str, object]:
    return {"protocol": protocol, "accuracy": value, "accuracy_low": value - 0.1, "accuracy_high": value + 0.1, **where}


def facts(clean: float, worst: float, *further: dict[str, object]) -> dict[str, object]:
    within = [accuracy("worst case", worst - step / 100, norm="linf", eps=step / 255) for step in (2, 4, 8)]
    unbounded = accuracy("worst case", 0.1, norm="any", eps=None)
    rows = [accuracy("clean", clean), accuracy("clean on attacked tiles", clean), unbounded, *within, *further]
    return {"accuracies": rows, "smallest l2": {"null": {"median": 0.256}}, "checks": {"pass": 12, "fail": 2}}


def test_a_row_for_each_state_of_each_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {
        "net": facts(0.9, 0.2),
        "net/deepfool/adversarial_training": facts(0.8, 0.3, accuracy("static", 0.75, attack="deepfool")),
        "net/robust": facts(0.7, 0.6),
    }
    settings = {"net": {"name": "resnet18", "weights": "imagenet"}}
    (tmp_path / "robust.json").write_text(json.dumps({"models": models, "experiment": {"models": settings}}))
    monkeypatch.setattr(record_tables, "RESULTS", tmp_path)
    _, _, undefended, hardened, robust = record_tables.readme_rows()
    start = "| ResNet-18, ImageNet weights, "
    none = "10.0 [0.0, 20.0]"
    assert undefended == f"{start}undefended | 90.0 [80.0, 100.0] | - | {none} | 16.0 [6.0, 26.0] | 2 |"
    assert hardened.startswith(f"{start}hardened the paper's way | 80.0 [70.0, 90.0] | 75.0 [65.0, 85.0] | {none} |")
    assert robust == f"{start}`robust` | 70.0 [60.0, 80.0] | - | {none} | 56.0 [46.0, 66.0] | 2 |"
    *_, row = record_tables.robust_rows()
    assert row.endswith("| 58.0 [48.0, 68.0] | 56.0 [46.0, 66.0] | 52.0 [42.0, 62.0] | 0.26 | 2 |")


def test_a_network_with_two_starts_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "net": {"name": "resnet18", "weights": "imagenet"},
        "other": {"name": "resnet18", "weights": "none"},
        "googlenet": None,
    }
    record = {"models": dict.fromkeys(settings, facts(0.9, 0.2)), "experiment": {"models": settings}}
    (tmp_path / "robust.json").write_text(json.dumps(record))
    monkeypatch.setattr(record_tables, "RESULTS", tmp_path)
    _, _, *rows = record_tables.robust_rows()
    names = [row.split(" | ")[0] for row in rows]
    assert names == [
        "| ResNet-18, ImageNet weights, undefended",
        "| ResNet-18, from scratch, undefended",
        "| GoogLeNet, undefended",
    ]
    _, _, *rows = record_tables.readme_rows()
    assert [row.split(" | ")[0] for row in rows] == [names[0], names[2]]


def test_a_column_for_each_threat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"threat": "clean", **accuracy("", 0.9)}, {"threat": "stain attack", **accuracy("", 0.4)}]
    record = {"models": {"net/stain_augmentation": {"overview": rows}}, "experiment": {"models": {"net": None}}}
    (tmp_path / "threats.json").write_text(json.dumps(record))
    monkeypatch.setattr(record_tables, "RESULTS", tmp_path)
    header, _, row = record_tables.threat_rows()
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert cells["| model"] == "| net, `stain_augmentation`"
    assert cells["clean"] == "90.0 [80.0, 100.0]"
    assert cells["stain attack"] == "40.0 [30.0, 50.0]"
    assert cells["natural corruptions"] == "-", "it was not measured"
