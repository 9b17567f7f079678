"""Candidates of the searches of a run: the settings that were tried, and what each reached on held-out tiles."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raypipe.evaluation.results.run import Run
from raypipe.storage.store import Store


def compute_candidates(run: Run, store: Store) -> Iterator[dict[str, Any]]:
    """Yield the rows of `raypipe.evaluation.results.schemas.CANDIDATES`: one for each candidate of each search."""
    for subject in run.subjects:
        manifest = store.manifest("model", subject.key) or {}
        records = manifest.get("candidates", [])
        searched = _find_searched([record["defense"] for record in records])
        for number, record in enumerate(records, 1):
            validation = record.get("validation")
            yield {
                **subject.columns(),
                "candidate": number,
                "settings": [f"{name}: {_write(name, record['defense'])}" for name in searched],
                "state": record.get("state", "finished"),
                "epochs": record.get("epochs", record["defense"]["epochs"]),
                "all_epochs": record["defense"]["epochs"],
                "score": sum(validation.values()) / len(validation) if validation else record["score"],
                "measure": "clean and static accuracy" if validation else "robust accuracy",
                "chosen": record["key"] == manifest["chosen"],
            }


def _find_searched(defenses: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the settings in which candidates differ."""
    names = dict.fromkeys(name for defense in defenses for name in defense)
    return [name for name in names if any(defense.get(name) != defenses[0].get(name) for defense in defenses)]


def _write(name: str, defense: Mapping[str, Any]) -> str:
    value = defense.get(name)
    if name == "eps" and defense.get("norm") == "linf":
        return f"{255 * defense[name]:.3g}/255"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
