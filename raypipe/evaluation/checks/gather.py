"""Evidence on a model under test, which is gathered from the artifacts of a run."""

from typing import Any

import numpy as np

from raypipe.evaluation.checks.evidence import Evidence, Fooled, Planted
from raypipe.evaluation.checks.probe import Probe
from raypipe.evaluation.results.run import ITSELF, PairingRecord, Run, SubjectRecord
from raypipe.evaluation.results.tested import Artifacts
from raypipe.evaluation.settings import (
    BLACK_BOX,
    HALF_EPS,
    HALF_STEPS,
    LARGE_EPS,
    REFERENCE,
    SINGLE_STEP,
    TWICE_EPS,
    TWICE_RESTARTS,
    TWICE_STEPS,
)


def gather(subject: SubjectRecord, run: Run, artifacts: Artifacts) -> Evidence:
    """Return the evidence on a model. Fields that its run did not measure stay None.

    Raises
    ------
    FileNotFoundError, ValueError
        If `raypipe.evaluation.results.tested.Artifacts` raises them.
    """
    own = [pairing for pairing in run.pairings if pairing.subject == subject.id]
    (clean,) = (artifacts.tested(pairing) for pairing in own if pairing.protocol == "clean")
    by_attack = {pairing.attack: pairing for pairing in own if pairing.protocol in ITSELF}
    if REFERENCE not in by_attack:
        return Evidence(clean=clean)
    reference = by_attack[REFERENCE]

    def fooled(pairing: PairingRecord) -> Fooled:
        return ~artifacts.tested(pairing).correct

    others = [pairing for pairing in own if pairing.attack == REFERENCE and pairing.protocol not in ITSELF]
    made = artifacts.perturbed(reference)
    met = artifacts.tested(reference)
    return Evidence(
        white_box=fooled(reference),
        single_step=fooled(by_attack[SINGLE_STEP]),
        transfer=np.any([fooled(pairing) for pairing in others], axis=0) if others else None,
        black_box=fooled(by_attack[BLACK_BOX]),
        doubled_iterations=fooled(by_attack[TWICE_STEPS]),
        doubled_restarts=fooled(by_attack[TWICE_RESTARTS]),
        by_steps={
            _setting(pairing, "max_iterations"): fooled(pairing)
            for pairing in (by_attack[HALF_STEPS], reference, by_attack[TWICE_STEPS])
        },
        by_eps={
            _setting(pairing, "eps"): fooled(pairing)
            for pairing in (by_attack[HALF_EPS], reference, by_attack[TWICE_EPS])
        },
        unbounded=fooled(by_attack[LARGE_EPS]),
        labels=met.labels,
        clean=clean,
        **_diagnosed(subject, run, artifacts),
        recorded_predictions=made.clean_prediction,
        remade_predictions=clean.at(made.ids).predicted,
        recorded_success=made.success,
        recomputed_success=(made.clean_prediction == met.labels) & ~met.correct,
    )


def _setting(pairing: PairingRecord, name: str) -> Any:
    return (pairing.settings or {})[name]


def _diagnosed(subject: SubjectRecord, run: Run, artifacts: Artifacts) -> dict[str, Any]:
    """Return the probe of all attacked tiles, and the results on the tiles with a planted adversarial example."""
    if subject.id not in run.diagnostics:
        return {}
    table = artifacts.diagnostics(run.diagnostics[subject.id]).to_pandas()
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
