"""Findings of the sanity checks: one function for each check of `raypipe.evaluation.checks.rules`.

`raypipe.evaluation.checks.findings` gives the number of tiles that a check needs to pass. The tolerances and their
reasons:

- *Never weaker* is judged tile by tile: it counts the tiles that the weaker attack fools and the stronger one does not.
  One tile, or one in 200 if that is more, may be lost in this way. Runs with other random starts or step sizes are not
  nested, and rounding to 8 bits undoes a few.
- *Less than a point* is meant strictly. But on up to 100 tiles, one tile is a point or more, and no smaller change can
  be seen. There one tile may change, and the figure says so.
- Gradients may be missing on one tile in 200, such as a blank one; on fewer than 200 tiles, on none. The gradient of
  the plain cross-entropy, which our attacks do not follow, also underflows on the most confident tiles of undefended
  networks. It may be missing on half of all tiles.
- Logits may change by float noise: by 1e-4 of their spread between passes, and by 1e-3 between batch sizes, because
  other kernels run for those.
- Stored values and the values computed from stored tiles must agree on every tile.
- Planted adversarial examples: the check passes if the attack finds the demanded share of them. It fails if the whole
  95 % Clopper-Pearson interval of the share lies below the demanded one. In between, it gives no verdict. An attack
  that finds 95 % of the planted examples fails by chance in at most 2.5 % of cases.
- Interval bounds in L-infinity are proofs, so no certificate may be broken. Randomized smoothing in L2 gives a proof
  about infinitely many draws of noise, with a probability of error. The attacked model averages over a few draws.
  There one tile may break its certificate, or one in 200. Only tiles that have a certificate count toward a pass.
- Randomness and dependence on the batch change the logits of every tile, so these two checks need only one tile.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.checks.evidence import LEAST_PLANTED, Evidence, FooledMask
from raypipe.evaluation.checks.findings import (
    TILES_PER_LOST,
    Finding,
    count_allowed,
    judge,
    report_missing,
    require_aligned,
)
from raypipe.evaluation.statistics.shares import compute_exact_lower_bound

TILES_PER_POINT = 100
REPEAT_NOISE, BATCH_NOISE = 1e-4, 1e-3
BLIND = 0.9
"""Largest share of a tile's values that may have a gradient of exactly zero. Above it, an attack has almost nothing to
follow."""
UNDERFLOWING = 0.5
"""Share of tiles on which the gradient of the plain cross-entropy may be zero."""
FOUND = 0.95
"""Share of the planted adversarial examples that an attack must find."""
CHANCE = 0.25
"""Largest share of planted examples that random points may find. Above it, the attack's success shows nothing."""
LEAST_APPLICABLE = 0.5
"""Smallest share of the tiles in which an adversarial example must have been planted."""
WHITE_BOX = "white-box attack"


def _write_robust_accuracy(fooled: FooledMask) -> str:
    return f"{100 * (1 - fooled.mean()):.1f} %"


def _name_missing(measured: Mapping[str, object]) -> list[str]:
    """Return the names of the measurements that are None."""
    return [name for name, value in measured.items() if value is None]


def _count_lost(stronger: FooledMask, weaker: FooledMask, names: str) -> int:
    """Count the tiles that the weaker attack fools and the stronger one does not."""
    require_aligned(stronger, weaker, names)
    return int((weaker & ~stronger).sum())


def _compare_attacks(
    stronger: FooledMask | None, weaker: FooledMask | None, stronger_name: str, weaker_name: str
) -> Finding:
    if stronger is None or weaker is None:
        return report_missing(*_name_missing({stronger_name: stronger, weaker_name: weaker}))
    lost, allowed = _count_lost(stronger, weaker, f"{stronger_name} and {weaker_name}"), count_allowed(len(weaker))
    figure = (
        f"{lost} of {len(weaker)} tiles fooled by the {weaker_name} only, at most {allowed} allowed; "
        f"robust accuracy {_write_robust_accuracy(stronger)} under the {stronger_name}"
    )
    return judge(lost, allowed, len(weaker), figure)


def _judge_series(fooled: Mapping[int, FooledMask] | Mapping[float, FooledMask] | None, unit: str) -> Finding:
    """Judge if each attack of a series fools the tiles that the attack before it fools."""
    if fooled is None or len(fooled) < 2:
        return report_missing(f"two values of {unit}")
    series = sorted(fooled.items())
    lost = max(_count_lost(stronger, weaker, unit) for (_, weaker), (_, stronger) in pairwise(series))
    tiles = len(series[0][1])
    allowed = count_allowed(tiles)
    # The weakest attack has no robust accuracy of its own, because it skips the tiles that the next one fools.
    curve = ", ".join(f"{_write_robust_accuracy(fooled)} at {value:.4g}" for value, fooled in series[1:])
    values = ", ".join(f"{value:.4g}" for value, _ in series)
    figure = (
        f"{values} {unit}: up to {lost} tiles fooled by the weaker of two only, {allowed} allowed; robust accuracy "
        f"{curve}"
    )
    return judge(lost, allowed, tiles, figure)


def _judge_doubling(fooled: FooledMask | None, doubled: FooledMask | None, what: str) -> Finding:
    """Judge if an attack with twice as many iterations or restarts fools less than a point more of the tiles."""
    if fooled is None or doubled is None:
        return report_missing(*_name_missing({WHITE_BOX: fooled, f"twice the {what}": doubled}))
    more, tiles = _count_lost(fooled, doubled, f"{what} and twice the {what}"), len(fooled)
    figure = f"with twice the {what}, the attack fools {more} more of {tiles} tiles ({100 * more / tiles:.1f} points)"
    if tiles <= TILES_PER_POINT:
        figure += (
            f"; one tile ({100 / tiles:.1f} points) is allowed, because a tolerance of less than a point needs "
            f"{TILES_PER_POINT + 1} tiles"
        )
    return judge(more, max(1, (tiles - 1) // TILES_PER_POINT), tiles, figure)


def _compare_values(
    first: NDArray[np.generic] | None, second: NDArray[np.generic] | None, names: tuple[str, str]
) -> Finding:
    if first is None or second is None:
        return report_missing(*_name_missing(dict(zip(names, (first, second), strict=True))))
    require_aligned(first, second, " and ".join(names))
    differing = int((first != second).sum())
    return judge(differing, 0, len(first), f"{' and '.join(names)} differ on {differing} of {len(first)} tiles")


def more_steps_never_weaker(evidence: Evidence) -> Finding:
    """Compare half, as many and twice as many steps, tile by tile."""
    return _judge_series(evidence.by_steps, "steps")


def larger_eps_never_weaker(evidence: Evidence) -> Finding:
    """Compare every radius with the next larger one, tile by tile."""
    return _judge_series(evidence.by_eps, "eps")


def iterative_beats_single_step(evidence: Evidence) -> Finding:
    """Compare the white-box attack with an attack of one gradient step."""
    return _compare_attacks(evidence.white_box, evidence.single_step, WHITE_BOX, "single-step attack")


def white_box_beats_transfer(evidence: Evidence) -> Finding:
    """Compare the white-box attack with adversarial tiles that were crafted against other models."""
    return _compare_attacks(evidence.white_box, evidence.transfer, WHITE_BOX, "transfer attack")


def white_box_beats_black_box(evidence: Evidence) -> Finding:
    """Compare the white-box attack with an attack that sees scores only."""
    return _compare_attacks(evidence.white_box, evidence.black_box, WHITE_BOX, "black-box attack")


def iterations_suffice(evidence: Evidence) -> Finding:
    """Compare the white-box attack with the same attack with twice the iterations."""
    return _judge_doubling(evidence.white_box, evidence.doubled_iterations, "iterations")


def restarts_suffice(evidence: Evidence) -> Finding:
    """Compare the white-box attack with the same attack with twice the restarts."""
    return _judge_doubling(evidence.white_box, evidence.doubled_restarts, "restarts")


def gradients_exist(evidence: Evidence) -> Finding:
    """Judge if the gradient of the log odds is finite, and is not zero in all or nearly all values."""
    probe = evidence.probe
    if probe is None:
        return report_missing("gradients")
    tiles, broken = len(probe.finite), int((~probe.finite).sum())
    blind = int((probe.finite & ((probe.log_odds_gradient == 0) | (probe.zero_share > BLIND))).sum())
    figure = f"{blind} of {tiles} tiles without a gradient, {tiles // TILES_PER_LOST} allowed; {broken} not finite"
    return judge(tiles if broken else blind, tiles // TILES_PER_LOST, tiles, figure)


def cross_entropy_does_not_underflow(evidence: Evidence) -> Finding:
    """Judge on how many tiles the gradient of the plain cross-entropy is zero in all values."""
    probe = evidence.probe
    if probe is None:
        return report_missing("gradients")
    zero, tiles = int((probe.cross_entropy_gradient == 0).sum()), len(probe.cross_entropy_gradient)
    allowed = int(UNDERFLOWING * tiles)
    return judge(max(0, zero - allowed), 0, tiles, f"{zero} of {tiles} tiles without a gradient, {allowed} allowed")


def deterministic_inference(evidence: Evidence) -> Finding:
    """Judge if two passes of the same batch give the same logits."""
    if evidence.probe is None:
        return report_missing("repeated passes")
    return _judge_stability(evidence.probe.repeat_difference, evidence.probe.spread, REPEAT_NOISE)


def batch_independent_inference(evidence: Evidence) -> Finding:
    """Judge if a tile has the same logits alone and in a batch."""
    if evidence.probe is None:
        return report_missing("passes of single tiles")
    return _judge_stability(evidence.probe.batch_difference, evidence.probe.spread, BATCH_NOISE)


def _judge_stability(differences: NDArray[np.float64], spread: NDArray[np.float64], noise: float) -> Finding:
    # Negated, so that a NaN difference counts as a change.
    moved = int((~(differences <= noise * spread)).sum())
    figure = f"logits of {moved} of {len(spread)} tiles differ by more than {noise:g} of their spread"
    return Finding("fail" if moved else "pass", f"{figure}; largest difference: {np.max(differences):.2g}")


def reproducible_predictions(evidence: Evidence) -> Finding:
    """Compare stored predictions with a second prediction of the same tiles."""
    names = ("stored predictions", "reproduced predictions")
    return _compare_values(evidence.recorded_predictions, evidence.remade_predictions, names)


def success_repeats(evidence: Evidence) -> Finding:
    """Compare the recorded success with the success that the stored tiles show."""
    names = ("recorded success", "success on the stored tiles")
    return _compare_values(evidence.recorded_success, evidence.recomputed_success, names)


def no_proof_is_broken(evidence: Evidence) -> Finding:
    """Count the tiles that an attack fools within the radius of their certificate."""
    if evidence.proof is None:
        return report_missing("certificates")
    proof = evidence.proof
    broken = int((proof.smallest <= proof.radius).sum())
    proved = int((proof.radius > 0).sum())
    allowed = 0 if proof.norm == "linf" else count_allowed(len(proof.radius))
    figure = f"{broken} of {proved} certificates in {proof.norm} broken by an attack, {allowed} allowed"
    return judge(broken, allowed, proved, figure)


def planted_examples_found(evidence: Evidence) -> Finding:
    """Judge the share of planted adversarial examples that the attack finds, next to that of random points."""
    if evidence.planted is None:
        return report_missing("planted adversarial examples")
    applicable, tiles = evidence.planted.applicable, len(evidence.planted.found)
    planted = int(applicable.sum())
    if planted < max(1, LEAST_APPLICABLE * tiles):
        reasons = "; ".join(sorted(set(map(str, evidence.planted.reasons[~applicable]))))
        return Finding("not applicable", f"planted in only {planted} of {tiles} tiles: {reasons}")
    successes = int(evidence.planted.found[applicable].sum())
    by_chance = int(evidence.planted.random_found[applicable].sum())
    low, least_failures = compute_exact_lower_bound(
        np.array([successes, planted - successes], dtype=float), np.full(2, float(planted))
    )
    high = 1 - least_failures
    figure = (
        f"planted adversarial examples found: {successes} of {planted} (random search with "
        f"{evidence.planted.random_points} points per tile: {by_chance} of {planted}); 95 % interval of the share "
        f"{100 * low:.1f} - {100 * high:.1f} %, {100 * FOUND:.0f} % required; planted in {planted} of {tiles} tiles"
    )
    if planted >= LEAST_PLANTED and high < FOUND:
        return Finding("fail", figure)
    reservations = {
        f"a verdict needs at least {LEAST_PLANTED} planted examples": planted < LEAST_PLANTED,
        "random search finds too many for a meaningful test": by_chance > CHANCE * planted,
        "too few examples for a verdict; increase planted_tiles": successes < FOUND * planted,
    }
    if any(reservations.values()):
        return Finding("not applicable", f"{figure}: {next(reason for reason, holds in reservations.items() if holds)}")
    return Finding("pass", figure)
