"""The threat models of a run, as a table."""

import json

from raypipe.attacks.engine.threat import write_bound
from raypipe.evaluation.results.run import Run
from raypipe.report.sheet import Cell, Sheet

ROLES = {"grid": "the grid", "evaluation": "the evaluation", "curve": "a curve", "check": "a sanity check"}


def threats_table(run: Run) -> Sheet:
    """Return a table of the threat model of every attack, and of the attack's settings."""
    table = Sheet("Threat models")
    table.add_columns("attack", "for", "norm", "budget", "knowledge", "goal", "pixels", "settings")
    told = set()
    for pairing in run.pairings:
        if (threat := pairing.threat) is None or (pairing.attack, threat) in told:
            continue
        told.add((pairing.attack, threat))
        budget = "unbounded, minimal" if threat.eps is None else write_bound(threat.eps, threat.norm)
        settings = {name: value for name, value in (pairing.settings or {}).items() if value is not None}
        table.add_row(
            Cell(str(pairing.attack), below=pairing.method or ""),
            ROLES[pairing.role],
            threat.norm,
            budget,
            threat.knowledge,
            threat.goal,
            threat.precision,
            Cell(
                "",
                below=", ".join(f"{name}: {json.dumps(value)}" for name, value in settings.items() if name != "name"),
            ),
        )
    table.caption = (
        "White-box: the attacker knows the model and its gradients. Transfer: another model, and nothing of this one. "
        "Score- and decision-based: its logits, or its predictions, for images of the attacker's choice. Every success "
        "is counted on stored 8-bit pixels, by the plain model in single precision."
    )
    return table
