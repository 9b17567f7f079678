"""The threat models of a run, as a table."""

import json

from raypipe.base.norms import AnyNorm
from raypipe.base.threat import ThreatModel, write_bound, write_radius
from raypipe.evaluation.results.run import Run
from raypipe.report.sheet import Cell, Sheet

ROLES = {
    "grid": "grid",
    "evaluation": "evaluation",
    "curve": "curve",
    "queries": "number of queries",
    "check": "sanity check",
}


def tabulate_threats(run: Run) -> Sheet:
    """Return a table of the threat model of every attack, and of the attack's settings."""
    table = Sheet("Threat models")
    table.add_columns("attack", "purpose", "norm", "budget", "knowledge", "goal", "pixels", "settings")
    keys = set()
    for pairing in run.pairings:
        if (threat := pairing.threat) is None or (pairing.attack, threat) in keys:
            continue
        keys.add((pairing.attack, threat))
        settings = {name: value for name, value in (pairing.settings or {}).items() if value is not None}
        table.add_row(
            Cell(str(pairing.attack), below=pairing.method or ""),
            ROLES[pairing.role],
            threat.norm,
            _write_budget(threat),
            threat.knowledge,
            threat.goal,
            threat.precision,
            Cell(
                "",
                below=", ".join(
                    f"{name}: {_write(name, value, threat.norm)}" for name, value in settings.items() if name != "name"
                ),
            ),
        )
    table.caption = (
        "White-box: the attacker knows the model and its gradients. Transfer: the attacker knows only another model. "
        "Score-based: the attacker sees the logits of chosen images. Decision-based: the attacker sees only their "
        "predicted classes. None: changes are drawn at random, without a look at any model. A patch may change its "
        "pixels by any amount, and no other pixel. Success is counted on the "
        "stored 8-bit pixels, by the unchanged model in single precision."
    )
    return table


def _write_budget(threat: ThreatModel) -> str:
    if threat.eps is not None:
        return write_bound(threat.eps, threat.norm)
    return threat.limits or ("unbounded" if threat.norm == "none" else "unbounded, minimal")


def _write(name: str, value: object, norm: AnyNorm) -> str:
    return write_radius(value, norm) if name == "eps" and isinstance(value, float) else json.dumps(value)
