"""The contestants of raypipe."""

from typing import Any

from torch import Tensor

from benchmarks.attacks.contestants import EPS, Contestant, Task
from raypipe.attacks import ATTACKS, get_attack
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.generate import build_goal
from raypipe.attacks.engine.victim import Victim, freeze

LIBRARY = "raypipe"


def _entry(family: str, label: str, name: str, /, *, slow: bool = False, **settings: Any) -> Contestant:
    def make() -> NamedAttack:
        if name not in ATTACKS:
            raise LookupError(f"raypipe.attacks.ATTACKS has no {name!r}")
        return ATTACKS[name].settings.model_validate({"name": name, **settings})

    def run(task: Task) -> Tensor:
        made = make()
        victim = Victim(task.prepared.fast, len(task), task.prepared.batch_size)
        goal = build_goal(made, task.images, task.labels, task.logits)
        with freeze(task.prepared.plain):
            return get_attack(made).generate(victim, task.images, goal, made)

    return Contestant(family, LIBRARY, label, run, settings=make, slow=slow)


_STEPWISE: dict[str, Any] = {"theta": 0.1, "growth": 1, "prune": 0, "target": "runner_up"}
"""Settings that imitate the Adversarial Robustness Toolbox."""

OURS = (
    _entry("deepfool", "exact", "deepfool", lazy=False),
    _entry("deepfool", "lazy", "deepfool"),
    _entry("carlini_wagner_l2", "adaptive 30", "carlini_wagner_l2"),
    _entry("carlini_wagner_l2", "adaptive 80", "carlini_wagner_l2", max_iterations=80),
    _entry("carlini_wagner_l2", "published 4x30", "carlini_wagner_l2", method="published"),
    _entry(
        "carlini_wagner_l2",
        "published 9x100",
        "carlini_wagner_l2",
        slow=True,
        method="published",
        binary_search_steps=9,
        max_iterations=100,
    ),
    _entry("minimal_l2", "minimal_l2", "minimal_l2"),
    _entry("minimal_l2", "ddn 50", "ddn", max_iterations=50, levels=None),
    _entry("minimal_l2", "ddn 100", "ddn", max_iterations=100, levels=None),
    _entry("minimal_l2", "ddn 100, 256 levels", "ddn", max_iterations=100, levels=256),
    _entry("saliency_map", "art rule", "saliency_map", slow=True, rule="art", **_STEPWISE),
    _entry("saliency_map", "pair rule", "saliency_map", slow=True, rule="pair", **_STEPWISE),
    _entry("saliency_map", "growing", "saliency_map"),
    _entry("sparse_l0", "sparse_l0", "sparse_l0"),
    _entry("sparse_l0", "sigma_zero 50", "sigma_zero", max_iterations=50),
    _entry("sparse_l0", "sigma_zero 100", "sigma_zero", max_iterations=100),
    _entry("pgd", "pgd 40", "pgd", norm="linf", eps=EPS, max_iterations=40, step_size=0.25, early_stop=True),
    _entry("pgd", "pgd 40, all steps", "pgd", norm="linf", eps=EPS, max_iterations=40, step_size=0.25),
    _entry("apgd", "apgd 20", "apgd", loss="cross_entropy", norm="linf", eps=EPS, max_iterations=20, early_stop=True),
)
