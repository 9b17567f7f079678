"""The checks on real evidence: an undefended model passes, and models that only hide their gradients fail."""

import numpy as np
import pytest
import torch

from raypipe.attacks.apgd import AutoProjectedGradient
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.generate import Adversarials, generate
from raypipe.attacks.engine.norms import BoundedAttack
from raypipe.attacks.engine.prepare import prepare
from raypipe.attacks.pgd import ProjectedGradient
from raypipe.evaluation.checks.evidence import Evidence
from raypipe.evaluation.checks.findings import Finding
from raypipe.evaluation.checks.judging import more_steps_never_weaker
from raypipe.evaluation.checks.planted import run_binarization_test
from raypipe.evaluation.checks.probe import probe
from raypipe.evaluation.checks.rules import reach_verdict, run_checks
from raypipe.evaluation.predict import predict
from raypipe.evaluation.protocols import CheckAttack
from raypipe.evaluation.results.artifacts import Predictions
from raypipe.evaluation.settings import Checks, Evaluation

EPS = 0.1
CPU = torch.device("cpu")
EVALUATION = Evaluation(checks=Checks(eps=EPS, max_queries=100))


def gathered(tested, name: str, evaluation: Evaluation = EVALUATION) -> Evidence:
    """Collect the evidence on a model from the attacks that an evaluation chooses; the other model is undefended."""
    model, images, labels = tested.models[name], tested.images, tested.labels

    def attacked(settings: NamedAttack, victim: str = name) -> Adversarials:
        ready = prepare(tested.models[victim], (3, 16, 16), device=CPU, batch_size=32)
        return generate(ready, images, labels, settings)

    def predicted(tiles: np.ndarray) -> np.ndarray:
        return predict(model, tiles, 32, CPU).argmax(1)

    attacks = evaluation.check_attacks(16)
    reference = attacks[CheckAttack.REFERENCE]
    made = {role: attacked(settings.with_early_stop(True)) for role, settings in attacks.items()}
    fooled = {role: result.adversarial_prediction != labels for role, result in made.items()}
    white_box, steps = fooled[CheckAttack.REFERENCE], reference.max_iterations
    stored = predicted(made[CheckAttack.REFERENCE].images)
    return Evidence(
        white_box=white_box,
        single_step=fooled[CheckAttack.SINGLE_STEP],
        transfer=predicted(attacked(reference.with_early_stop(False), "undefended").images) != labels,
        black_box=fooled[CheckAttack.BLACK_BOX],
        doubled_iterations=fooled[CheckAttack.TWICE_STEPS],
        doubled_restarts=fooled[CheckAttack.TWICE_RESTARTS],
        by_steps={
            steps // 2: fooled[CheckAttack.HALF_STEPS],
            steps: white_box,
            2 * steps: fooled[CheckAttack.TWICE_STEPS],
        },
        by_eps={EPS / 2: fooled[CheckAttack.HALF_EPS], EPS: white_box, 2 * EPS: fooled[CheckAttack.TWICE_EPS]},
        unbounded=fooled[CheckAttack.LARGE_EPS],
        labels=labels,
        clean=Predictions(np.arange(len(labels)), np.arange(len(labels)), labels, predict(model, images, 32, CPU)),
        probe=probe(model, images, labels, 32, CPU),
        planted=run_binarization_test(model, images[:20], reference.with_early_stop(True), 32, CPU),
        recorded_predictions=made[CheckAttack.REFERENCE].clean_prediction,
        remade_predictions=predicted(images),
        recorded_success=made[CheckAttack.REFERENCE].success,
        recomputed_success=(stored != labels) & (made[CheckAttack.REFERENCE].clean_prediction == labels),
    )


def test_the_evaluation_of_an_undefended_model_passes_every_check(tested) -> None:
    checks = run_checks(gathered(tested, "undefended"))
    assert {check.name: check.figure for check in checks if check.verdict != "pass"} == {}
    assert not reach_verdict(checks).withheld


def test_rounding_is_attacked_through(tested) -> None:
    """Attack through the rounding as an identity: the masked model has 100 %, and its rounding hides nothing."""
    evidence = gathered(tested, "straight through")
    assert evidence.white_box.all()
    failed = {check.name: check.figure for check in run_checks(evidence) if check.verdict == "fail"}
    assert failed == {}


BLIND = {"a large eps fools every tile", "white-box beats transfer", "white-box beats black-box"}
FLAT = {"no zero gradients", "the cross-entropy does not underflow"}
PLANTED = {"planted adversarial examples are found"}
RANDOM = {"deterministic inference", "batch-independent inference"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quantized", BLIND | FLAT | PLANTED),
        ("thermometer", BLIND | FLAT | PLANTED),
        ("overconfident", {"the cross-entropy does not underflow"}),
        ("saturating", BLIND | FLAT | {"the outputs are logits"}),  # it ends in a softmax
        ("noisy", RANDOM),
        ("shattered", BLIND | PLANTED),
        ("high frequency", BLIND),
    ],
)
def test_what_only_hides_the_gradient_fails(tested, name: str, expected: set[str]) -> None:
    torch.manual_seed(0)
    checks = run_checks(gathered(tested, name))
    failed = {check.name for check in checks if check.verdict == "fail"}
    # noise may upset other comparisons too
    assert expected <= failed if name == "noisy" else expected == failed
    assert reach_verdict(checks).withheld


def steps_check(tested, name: str, bounded: BoundedAttack, eps: float, nested: bool = False) -> Finding:
    """Judge three numbers of steps, as separate attacks or as beginnings of one attack."""
    model = prepare(tested.models[name], (3, 16, 16), device=CPU, batch_size=32)
    attacks = Evaluation(bounded=bounded, checks=Checks(eps=eps)).check_attacks(16)
    by_steps = {}
    for role in (CheckAttack.HALF_STEPS, CheckAttack.REFERENCE, CheckAttack.TWICE_STEPS):
        settings = attacks[role].with_early_stop(True)
        if nested:
            settings = attacks[CheckAttack.REFERENCE].model_copy(
                update={"max_iterations": settings.max_iterations, "step_size": 0.1, "early_stop": True}
            )
        by_steps[settings.max_iterations] = (
            generate(model, tested.images, tested.labels, settings).adversarial_prediction != tested.labels
        )
    return more_steps_never_weaker(Evidence(by_steps=by_steps))


@pytest.mark.parametrize("attack", [ProjectedGradient, AutoProjectedGradient], ids=["pgd", "apgd"])
def test_more_steps_can_be_weaker_where_gradients_mislead(tested, attack: type[BoundedAttack]) -> None:
    bounded = attack(max_iterations=20)
    assert steps_check(tested, "high frequency", bounded, eps=0.3).verdict == "fail"
    honest = steps_check(tested, "undefended", bounded, eps=0.05)
    assert honest.verdict == "pass"
    assert "75.0 % at 20" in honest.figure, "some tiles stay correct, and some are fooled"


def test_nested_runs_could_not_show_it(tested) -> None:
    masked = steps_check(tested, "high frequency", ProjectedGradient(max_iterations=20), eps=0.3, nested=True)
    assert masked.verdict == "pass"
    assert "up to 0 tiles fooled by the weaker of two only" in masked.figure
