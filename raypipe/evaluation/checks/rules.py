"""Sanity checks of an evaluation of robustness, and the verdict that they give together.

An attack that fails makes any model look robust. Each check tests a law that working attacks obey. If one is broken,
robust accuracy says more about the attack than about the model. `raypipe.evaluation.checks.judging` judges each check
and gives its tolerance. `raypipe.evaluation.checks.findings` gives the number of tiles that a check needs to pass.

References
----------
N. Carlini et al., 2019, arXiv:1902.06705.

A. Athalye, N. Carlini and D. Wagner, 2018, arXiv:1802.00420, section 3.1.

F. Tramer et al., 2020, arXiv:2002.08347.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from raypipe.base.predictions import are_probabilities
from raypipe.evaluation.checks import judging, judging_accuracy
from raypipe.evaluation.checks.evidence import Evidence
from raypipe.evaluation.checks.findings import Finding, Ruling, compute_missed_share, count_allowed

LEAST_JUDGED = 2 / 3
"""Smallest share of the checks that must be judged before a model may be called robust."""
ABOVE_CHANCE = "clean accuracy is above chance"
"""Name of the check that a model must pass to be called robust. A model at chance has no accuracy that an attack could
reduce."""
CARLINI = "Carlini et al., 2019, arXiv:1902.06705"
ATHALYE = "Athalye, Carlini and Wagner, 2018, arXiv:1802.00420, section 3.1"
CROCE = "Croce and Hein, 2020, arXiv:2003.01690"
ZIMMERMANN = "Zimmermann et al., 2022, arXiv:2206.13991"
GOWAL = "Gowal et al., 2018, arXiv:1810.12715, and Cohen et al., 2019, arXiv:1902.02918"
OURS = "ours"


class Rule(NamedTuple):
    """A check that can be run: `judge` takes all evidence; the other fields are those of `Check`."""

    name: str
    judge: Callable[[Evidence], Finding]
    meaning: str
    source: str


class Check(NamedTuple):
    """The result of a check.

    Parameters
    ----------
    name
        The law that holds if the check passes.
    verdict
        ``pass``, ``fail`` or ``not applicable``.
    figure
        The numbers, or the reason why there are none.
    meaning
        The reason for the check, and the meaning of a failure.
    source
        The publication that asks for the check, or ``ours``.
    """

    name: str
    verdict: Ruling
    figure: str
    meaning: str
    source: str


class Verdict(NamedTuple):
    """The verdict of all checks together.

    Parameters
    ----------
    failed, passed, not_applicable
        Number of checks with each verdict.
    withheld
        True if the model must not be called robust: a check failed, or too few checks were judged, or nothing shows
        that the model is better than chance.
    sentence
        The sentence that stands above every table of the model's robust accuracy.
    """

    failed: int
    passed: int
    not_applicable: int
    withheld: bool
    sentence: str


CHECKS = (
    Rule(
        ABOVE_CHANCE,
        judging_accuracy.clean_accuracy_above_chance,
        "The model is better than chance. If not, it has no accuracy that an attack could reduce, and is not robust.",
        OURS,
    ),
    Rule(
        "more steps are never weaker",
        judging.more_steps_never_weaker,
        "More steps fool every tile that fewer steps fool. If not, gradients are masked, or the steps are too long.",
        CARLINI,
    ),
    Rule(
        "a larger eps is never weaker",
        judging.larger_eps_never_weaker,
        "A larger ball contains the smaller one and its adversarial examples. If not, the attack fails in large balls.",
        ATHALYE,
    ),
    Rule(
        "a large eps fools every tile",
        judging_accuracy.large_eps_fools_every_tile,
        "This eps can turn all tiles into one image. If a tile is still classified correctly, the attack fails.",
        ATHALYE,
    ),
    Rule(
        "iterative beats single-step",
        judging.iterative_beats_single_step,
        "Many small steps fool every tile that one large step fools. If not, the gradient near the tile misleads.",
        ATHALYE,
    ),
    Rule(
        "white-box beats transfer",
        judging.white_box_beats_transfer,
        "A white-box attack fools every tile that a transfer attack fools. If not, the gradients are masked.",
        ATHALYE,
    ),
    Rule(
        "white-box beats black-box",
        judging.white_box_beats_black_box,
        "An attack with gradients fools every tile that an attack without them fools. If not, gradients are masked.",
        ATHALYE,
    ),
    Rule(
        "the iterations suffice",
        judging.iterations_suffice,
        "The attack has converged. If not, a longer attack lowers robust accuracy.",
        CARLINI,
    ),
    Rule(
        "the restarts suffice",
        judging.restarts_suffice,
        "More random starts fool few more tiles. If not, robust accuracy depends on the starting point.",
        CARLINI,
    ),
    Rule(
        "no zero gradients",
        judging.gradients_exist,
        "The attack has a gradient to follow. If not, a layer without a useful gradient stops it, not robustness.",
        ATHALYE,
    ),
    Rule(
        "the cross-entropy does not underflow",
        judging.cross_entropy_does_not_underflow,
        "The plain cross-entropy has a gradient. If not, an overconfident model stops attacks that follow it.",
        CROCE,
    ),
    Rule(
        "deterministic inference",
        judging.deterministic_inference,
        "Two passes give the same logits. If not, attacks must average over the randomness, and ours do not. Noise "
        "that depends on a tile's pixels alone passes: attacks meet the same draws, and follow their mean gradient.",
        ATHALYE,
    ),
    Rule(
        "batch-independent inference",
        judging.batch_independent_inference,
        "A tile's logits do not depend on its batch. If they do, success in one batch may be failure in another.",
        OURS,
    ),
    Rule(
        "reproducible predictions",
        judging.reproducible_predictions,
        "A second prediction gives the stored classes. If not, model or tiles changed, or inference is random.",
        OURS,
    ),
    Rule(
        "planted adversarial examples are found",
        judging.planted_examples_found,
        "The attack finds adversarial examples that exist by construction. If not, its failures mean little.",
        ZIMMERMANN,
    ),
    Rule(
        "stored tiles fool as recorded",
        judging.success_repeats,
        "Success is counted on the stored 8-bit tiles. If not, the figures describe images that do not exist.",
        OURS,
    ),
)
"""The checks of every model, in the order in which they are shown."""

OF_PROOFS = (
    Rule(
        "no certificate is broken",
        judging.no_proof_is_broken,
        "No attack fools the model within a certified radius. If one does, the proof is wrong or of another model.",
        GOWAL,
    ),
)
"""The additional checks of a model that has certificates."""
OF_PROBABILITIES = (
    Rule(
        "the outputs are logits",
        judging_accuracy.outputs_are_logits,
        "Attacks follow differences of logits. Those of probabilities vanish where the model is confident. Attacks "
        "then need far larger perturbations, and the model looks robust. Return logits from the network.",
        CARLINI,
    ),
)
"""The additional check of a model whose outputs are probabilities. A model that enters raypipe today is recognized."""


def run_checks(evidence: Evidence) -> tuple[Check, ...]:
    """Run every check, in the order of `CHECKS`, and then those of certificates and of probabilities if there are any.

    Raises
    ------
    ValueError
        If arrays that are compared do not belong to the same tiles.
    """
    rules: tuple[Rule, ...] = CHECKS if evidence.proof is None else CHECKS + OF_PROOFS
    if evidence.clean is not None and are_probabilities(evidence.clean.logits):
        rules += OF_PROBABILITIES
    return tuple(Check(rule.name, *rule.judge(evidence), rule.meaning, rule.source) for rule in rules)


def reach_verdict(checks: Sequence[Check], tiles: int | None = None) -> Verdict:
    """Return the verdict on a model's evaluation: it says if the model may be called robust.

    Parameters
    ----------
    checks
        Results of `run_checks`.
    tiles
        Number of attacked tiles; None if it is not known.
    """
    on = "" if tiles is None else f" on {tiles} tiles"
    failures = [check.name for check in checks if check.verdict == "fail"]
    passed = sum(check.verdict == "pass" for check in checks)
    judgments, count = len(failures) + passed, len(checks)
    unknown = [check.figure for check in checks if check.name == ABOVE_CHANCE and check.verdict != "pass"]
    if failures:
        sentence = (
            f"Robustness not claimed: {len(failures)} of {judgments} checks failed{on} ({'; '.join(failures)}). "
            "Sanity check failed: robust accuracy may be overestimated."
        )
    elif unknown:
        sentence = f"Robustness not claimed: the model is not shown to be better than chance ({unknown[0]})."
    elif judgments < LEAST_JUDGED * count:
        sentence = f"Robustness not claimed: only {judgments} of {count} checks could be judged{on}."
    else:
        sentence = (
            f"{passed} of {count} checks passed{on}, {count - passed} not applicable: no attack failure detected; "
            "robust accuracy is an upper bound."
        )
        if tiles is not None and tiles > count_allowed(tiles):
            share = compute_missed_share(tiles, count_allowed(tiles))
            sentence += f" On {tiles} tiles, a check can miss a failure on up to {100 * share:.0f} % of them."
    withheld = bool(failures or unknown) or judgments < LEAST_JUDGED * count
    return Verdict(len(failures), passed, count - judgments, withheld, sentence)
