"""Cost of each model's training in passes and seconds, with all that the model learned from."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from raypipe.evaluation.results.run import Run
from raypipe.storage.costs import FREE, Cost
from raypipe.storage.store import Store

UNDEFENDED, STATIC, ONLINE, OTHER = "undefended", "static training", "online training", "other defense"
"""Kinds of training: none against attacks, on adversarial tiles that exist beforehand, on adversarial tiles that are
crafted in each step, and all other defenses."""


def compute_trainings(run: Run, store: Store) -> Iterator[dict[str, Any]]:
    """Yield the rows of `raypipe.evaluation.results.schemas.TRAININGS`: one for each model under test.

    A hardened model's cost includes that of the undefended model that it starts from, that of the adversarial tiles
    that it learned, and that of all candidates of a search. The figures are None if an artifact does not have them.
    """

    @cache
    def read(kind: str, key: str) -> Mapping[str, Any]:
        return store.manifest(kind, key) or {}

    for subject in run.subjects:
        manifest = read("model", subject.key)
        cost, own = _sum_costs("model", subject.key, read), manifest.get("cost")
        yield {
            **subject.columns(),
            "kind": _find_kind(manifest),
            "hardening_passes": own["forwards"] + own["backwards"] if subject.defense and own else None,
            **(cost.facts() if cost else {}),
        }


def _find_kind(manifest: Mapping[str, Any]) -> str:
    """Return the kind of a model's training, from the name of its defense."""
    defense = manifest.get("spec", {}).get("defense")
    if defense is None:
        return UNDEFENDED
    # These import PyTorch, and who only reads results needs them for nothing.
    from raypipe.defenses import DEFENSES  # noqa: PLC0415
    from raypipe.defenses.base import StaticTraining  # noqa: PLC0415
    from raypipe.defenses.online import OnlineTraining  # noqa: PLC0415

    settings = DEFENSES.get(defense["name"], object)
    kinds = {StaticTraining: STATIC, OnlineTraining: ONLINE}
    return next((kind for base, kind in kinds.items() if issubclass(settings, base)), OTHER)


def _sum_costs(kind: str, key: str, read: Callable[[str, str], Mapping[str, Any]]) -> Cost | None:
    """Return the cost of an artifact and of the models and adversarial tiles that it was made from.

    Parameters
    ----------
    kind, key
        Kind and key of the artifact.
    read
        Function that returns the manifest of an artifact, which is empty if there is none.
    """
    manifest = read(kind, key)
    if "cost" not in manifest:
        return None
    unused = {"tiles"}
    if manifest.get("stage") != "harden":
        unused |= manifest["inputs"].keys()
    elif manifest["spec"]["defense"].get("start") == "weights":
        unused.add("model")
    needed = [
        ("model" if role == "model" else "adversarials", input_key)
        for role, input_key in manifest["inputs"].items()
        if role not in unused
    ]
    costs = [Cost.of(manifest), *(_sum_costs(*each, read) for each in needed)]
    return None if None in costs else sum((cost for cost in costs if cost), FREE)
