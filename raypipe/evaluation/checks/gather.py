"""Evidence on a model under test, which is gathered from the artifacts of a run."""

from typing import Any

import numpy as np

from raypipe.evaluation.checks.evidence import Evidence, Fooled, Planted
from raypipe.evaluation.checks.probe import Probe
from raypipe.evaluation.protocols import ITSELF, CheckAttack
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.run import PairingRecord, Run, SubjectRecord


def gather_evidence(subject: SubjectRecord, run: Run, artifacts: Artifacts) -> Evidence:
    """Return the evidence on a model. Fields that its run did not measure stay None.

    Raises
    ------
    FileNotFoundError, ValueError
        If `raypipe.evaluation.results.artifacts.Artifacts` raises them.
    """
    own = run.find_pairings(subject.id)
    clean = artifacts.read_predictions(run.find_clean_pairing(subject.id))
    by_attack = {pairing.attack: pairing for pairing in own if pairing.protocol in ITSELF}
    if CheckAttack.REFERENCE not in by_attack:
        return Evidence(clean=clean)
    reference = by_attack[CheckAttack.REFERENCE]

    def fooled(pairing: PairingRecord) -> Fooled:
        return ~artifacts.read_predictions(pairing).correct

    others = [pairing for pairing in own if pairing.attack == CheckAttack.REFERENCE and pairing.protocol not in ITSELF]
    made = artifacts.read_adversarials(reference)
    met = artifacts.read_predictions(reference)
    return Evidence(
        white_box=fooled(reference),
        single_step=fooled(by_attack[CheckAttack.SINGLE_STEP]),
        transfer=np.any([fooled(pairing) for pairing in others], axis=0) if others else None,
        black_box=fooled(by_attack[CheckAttack.BLACK_BOX]),
        doubled_iterations=fooled(by_attack[CheckAttack.TWICE_STEPS]),
        doubled_restarts=fooled(by_attack[CheckAttack.TWICE_RESTARTS]),
        by_steps={
            _setting(pairing, "max_iterations"): fooled(pairing)
            for pairing in (by_attack[CheckAttack.HALF_STEPS], reference, by_attack[CheckAttack.TWICE_STEPS])
        },
        by_eps={
            _setting(pairing, "eps"): fooled(pairing)
            for pairing in (by_attack[CheckAttack.HALF_EPS], reference, by_attack[CheckAttack.TWICE_EPS])
        },
        unbounded=fooled(by_attack[CheckAttack.LARGE_EPS]),
        labels=met.labels,
        clean=clean,
        **_gather_diagnostics(subject, run, artifacts),
        recorded_predictions=made.clean_prediction,
        remade_predictions=clean.at(made.ids).predicted,
        recorded_success=made.success,
        recomputed_success=(made.clean_prediction == met.labels) & ~met.correct,
    )


def _setting(pairing: PairingRecord, name: str) -> Any:
    return (pairing.settings or {})[name]


def _gather_diagnostics(subject: SubjectRecord, run: Run, artifacts: Artifacts) -> dict[str, Any]:
    """Return the probe of all attacked tiles, and the results on the tiles with a planted adversarial example."""
    if subject.id not in run.diagnostics:
        return {}
    table = artifacts.read_diagnostics(run.diagnostics[subject.id]).to_pandas()
    seen = {name: table[name].to_numpy() for name in Probe.__dataclass_fields__}
    some = table[table["planted"]]
    if some.empty:
        return {"probe": Probe(**seen)}
    planted = Planted(
        found=some["planted_found"].to_numpy(),
        random_found=some["planted_random_found"].to_numpy(),
        reasons=some["planted_reason"].to_numpy().astype(str),
        random_points=int(some["planted_random_points"].max()),
        forwards=some["forwards"].to_numpy(),
        backwards=some["backwards"].to_numpy(),
    )
    return {"probe": Probe(**seen), "planted": planted}
