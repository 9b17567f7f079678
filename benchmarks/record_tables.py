"""Tables of the records that `benchmarks.run_record` writes, for the README and docs/measured.md."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from raypipe.evaluation.results.overview import COLUMNS as OVERVIEW
from raypipe.report.names import name_backbone

RESULTS = Path(__file__).parent / "results"
STATES = {
    "": "undefended",
    "deepfool/adversarial_training": "hardened the paper's way",
    "robust": "`robust`",
    "stain_augmentation": "`stain_augmentation`",
}
"""Names of the ways of hardening, by what follows the model in the record."""
Facts = dict[str, Any]
Column = Callable[[Facts], str]


def readme_rows() -> Iterator[str]:
    """Yield the README's table of robust models: accuracies of the attacked tiles, without twins from scratch."""
    columns: dict[str, Column] = {
        "clean": lambda facts: _percent(facts, "clean on attacked tiles"),
        "static": lambda facts: _percent(facts, "static", attack="deepfool"),
        "worst case, no limit": lambda facts: _percent(facts, "worst case", norm="any", eps=None),
        "worst case, linf <= 4/255": lambda facts: _percent(facts, "worst case", norm="linf", eps=4 / 255),
        "failed checks": _failed_checks,
    }
    yield from _table("robust.json", columns, twins=False)


def robust_rows() -> Iterator[str]:
    """Yield the table of robust models in docs/measured.md."""
    columns: dict[str, Column] = {
        "clean, test set": lambda facts: _percent(facts, "clean"),
        "clean, attacked tiles": lambda facts: _percent(facts, "clean on attacked tiles"),
        "static": lambda facts: _percent(facts, "static", attack="deepfool"),
        **{f"worst case, {step}/255": _within(step / 255) for step in (2, 4, 8)},
        "median smallest L2": lambda facts: f"{facts['smallest l2']['null']['median']:.2f}",
        "failed checks": _failed_checks,
    }
    yield from _table("robust.json", columns)


def threat_rows() -> Iterator[str]:
    """Yield the table of all threats in docs/measured.md."""
    yield from _table("threats.json", {threat: _under(threat) for threat in OVERVIEW})


def _under(threat: str) -> Column:
    return lambda facts: next((_format(row) for row in facts["overview"] if row["threat"] == threat), "-")


def _failed_checks(facts: Facts) -> str:
    return str(facts["checks"].get("fail", 0))


def _within(eps: float) -> Column:
    return lambda facts: _percent(facts, "worst case", norm="linf", eps=eps)


def _table(name: str, columns: dict[str, Column], twins: bool = True) -> Iterator[str]:
    """Yield a table of a record; on request without the networks that the record also has with pretrained weights."""
    record = json.loads((RESULTS / name).read_text())
    yield f"| model | {' | '.join(columns)} |"
    yield f"|{' --- |' * (len(columns) + 1)}"
    models = {model: {"name": model, **(settings or {})} for model, settings in record["experiment"]["models"].items()}
    pretrained = {settings["name"] for settings in models.values() if settings.get("weights") == "imagenet"}
    for model, settings in models.items():
        is_twin = settings["name"] in pretrained and settings.get("weights") != "imagenet"
        if is_twin and not twins:
            continue
        start = "from scratch, " if is_twin else ""
        start = "ImageNet weights, " if settings.get("weights") == "imagenet" else start
        backbone = name_backbone(settings["name"])
        for ending, state in STATES.items():
            if facts := record["models"].get(f"{model}/{ending}".rstrip("/")):
                yield f"| {backbone}, {start}{state} | {' | '.join(show(facts) for show in columns.values())} |"


def _percent(facts: Facts, protocol: str, **where: Any) -> str:
    """Return an accuracy with its interval in percent, or a dash where it was not measured."""
    wanted = {"protocol": protocol, **where}
    found = [row for row in facts["accuracies"] if all(_same(row.get(name), value) for name, value in wanted.items())]
    if not found:
        return "-"
    return _format(*found)


def _format(row: Facts) -> str:
    value, low, high = (100 * row[name] for name in ("accuracy", "accuracy_low", "accuracy_high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _same(one: Any, two: Any) -> bool:
    return abs(one - two) < 1e-9 if isinstance(one, float) and isinstance(two, float) else bool(one == two)
