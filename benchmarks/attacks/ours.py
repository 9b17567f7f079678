"""The contestants of raypipe."""

from typing import Any

from torch import Tensor

from benchmarks.attacks.contestants import EPS, Contestant, Task
from raypipe.attacks import ATTACKS, get_attack
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.generate import build_goal
from raypipe.attacks.engine.victim import Victim, freeze

LIBRARY = "raypipe"


def make_contestant(family: str, label: str, name: str, /, *, slow: bool = False, **settings: Any) -> Contestant:
    """Return the contestant of one of raypipe's attacks with its settings."""

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
    make_contestant("deepfool", "exact", "deepfool", lazy=False),
    make_contestant("deepfool", "lazy", "deepfool"),
    make_contestant("carlini_wagner_l2", "adaptive 30", "carlini_wagner_l2"),
    make_contestant("carlini_wagner_l2", "adaptive 80", "carlini_wagner_l2", max_iterations=80),
    make_contestant("carlini_wagner_l2", "published 4x30", "carlini_wagner_l2", method="published"),
    make_contestant(
        "carlini_wagner_l2",
        "published 9x100",
        "carlini_wagner_l2",
        slow=True,
        method="published",
        binary_search_steps=9,
        max_iterations=100,
    ),
    make_contestant("minimal_l2", "minimal_l2", "minimal_l2"),
    make_contestant("minimal_l2", "ddn 50", "ddn", max_iterations=50, levels=None),
    make_contestant("minimal_l2", "ddn 100", "ddn", max_iterations=100, levels=None),
    make_contestant("minimal_l2", "ddn 100, 256 levels", "ddn", max_iterations=100, levels=256),
    make_contestant("saliency_map", "art rule", "saliency_map", slow=True, rule="art", **_STEPWISE),
    make_contestant("saliency_map", "pair rule", "saliency_map", slow=True, rule="pair", **_STEPWISE),
    make_contestant("saliency_map", "growing", "saliency_map"),
    make_contestant("sparse_l0", "sparse_l0", "sparse_l0"),
    make_contestant("sparse_l0", "sigma_zero 50", "sigma_zero", max_iterations=50),
    make_contestant("sparse_l0", "sigma_zero 100", "sigma_zero", max_iterations=100),
    make_contestant("pgd", "pgd 40", "pgd", norm="linf", eps=EPS, max_iterations=40, step_size=0.25, early_stop=True),
    make_contestant("pgd", "pgd 40, all steps", "pgd", norm="linf", eps=EPS, max_iterations=40, step_size=0.25),
    make_contestant(
        "apgd", "apgd 20", "apgd", loss="cross_entropy", norm="linf", eps=EPS, max_iterations=20, early_stop=True
    ),
    make_contestant("autoattack", "standard", "autoattack", norm="linf", eps=EPS, early_stop=True),
)
