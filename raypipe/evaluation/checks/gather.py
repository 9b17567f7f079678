"""Evidence on a model under test, which is gathered from the artifacts of a run."""

from typing import Any

import numpy as np

from raypipe.evaluation.checks.evidence import Evidence, FooledMask, PlantedSearch, Probe
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
    pairings = run.find_pairings(subject.id)
    clean = artifacts.read_predictions(run.find_clean_pairing(subject.id))
    by_attack = {pairing.attack: pairing for pairing in pairings if pairing.protocol in ITSELF}
    if CheckAttack.REFERENCE not in by_attack:
        return Evidence(clean=clean)
    reference = by_attack[CheckAttack.REFERENCE]

    def find_fooled(pairing: PairingRecord) -> FooledMask:
        return ~artifacts.read_predictions(pairing).correct

    others = [
        pairing for pairing in pairings if pairing.attack == CheckAttack.REFERENCE and pairing.protocol not in ITSELF
    ]
    adversarials = artifacts.read_adversarials(reference)
    predictions = artifacts.read_predictions(reference)
    return Evidence(
        white_box=find_fooled(reference),
        single_step=find_fooled(by_attack[CheckAttack.SINGLE_STEP]),
        transfer=np.any([find_fooled(pairing) for pairing in others], axis=0) if others else None,
        black_box=find_fooled(by_attack[CheckAttack.BLACK_BOX]),
        doubled_iterations=find_fooled(by_attack[CheckAttack.TWICE_STEPS]),
        doubled_restarts=find_fooled(by_attack[CheckAttack.TWICE_RESTARTS]),
        by_steps={
            _get_setting(pairing, "max_iterations"): find_fooled(pairing)
            for pairing in (by_attack[CheckAttack.HALF_STEPS], reference, by_attack[CheckAttack.TWICE_STEPS])
        },
        by_eps={
            _get_setting(pairing, "eps"): find_fooled(pairing)
            for pairing in (by_attack[CheckAttack.HALF_EPS], reference, by_attack[CheckAttack.TWICE_EPS])
        },
        unbounded=find_fooled(by_attack[CheckAttack.LARGE_EPS]),
        labels=predictions.labels,
        clean=clean,
        **_gather_diagnostics(subject, run, artifacts),
        recorded_predictions=adversarials.clean_prediction,
        remade_predictions=clean.at(adversarials.ids).predicted,
        recorded_success=adversarials.success,
        recomputed_success=(adversarials.clean_prediction == predictions.labels) & ~predictions.correct,
    )


def _get_setting(pairing: PairingRecord, name: str) -> Any:
    return (pairing.settings or {})[name]


def _gather_diagnostics(subject: SubjectRecord, run: Run, artifacts: Artifacts) -> dict[str, Any]:
    """Return the probe of all attacked tiles, and the results on the tiles with a planted adversarial example."""
    if subject.id not in run.diagnostics:
        return {}
    table = artifacts.read_diagnostics(run.diagnostics[subject.id]).to_pandas()
    figures = {name: table[name].to_numpy() for name in Probe.__dataclass_fields__}
    tiles = table[table["planted"]]
    if tiles.empty:
        return {"probe": Probe(**figures)}
    planted = PlantedSearch(
        found=tiles["planted_found"].to_numpy(),
        random_found=tiles["planted_random_found"].to_numpy(),
        reasons=tiles["planted_reason"].to_numpy().astype(str),
        random_points=int(tiles["planted_random_points"].max()),
        forwards=tiles["forwards"].to_numpy(),
        backwards=tiles["backwards"].to_numpy(),
    )
    return {"probe": Probe(**figures), "planted": planted}
