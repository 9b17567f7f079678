"""Sound or not: from evidence to a finding, one function for each check of `raypipe.evaluation.checks.rules`.

`raypipe.evaluation.checks.findings` says how many tiles a check needs to pass. Tolerances, and why:

- *Never weaker* is judged tile by tile: how many tiles the weaker attack fools and the stronger one does not. One
  tile, or one in 200 if that is more, may be lost so: runs with other random starts or step sizes are not nested, and
  rounding to 8 bits undoes a few.
- *Less than a point* is meant strictly, but on up to 100 tiles one tile is a point or more and no smaller move can be
  seen: one may move, and the figure says so.
- Gradients may be missing on one tile in 200, such as a blank one; on fewer tiles than 200, on none. That of the plain
  cross-entropy, which our attacks do not follow, also underflows on the surest tiles of undefended networks: half of
  all tiles may lack it.
- Logits may move by float noise: 1e-4 of their spread from pass to pass, and 1e-3 between batch sizes, for which other
  kernels run.
- What is stored and what is computed from it must agree on every tile.
- Planted adversarial examples: the check passes if the share that was found is the demanded one, and fails if all of
  its 95 % Clopper-Pearson interval is below that. In between, nothing is said. An attack that finds 95 % of what is
  planted fails by chance in at most 2.5 % of cases.
- Interval bounds in linf prove; not one may be broken. Randomised smoothing in l2 proves something of infinitely many
  draws of noise, with a probability of error, and what is attacked averages over a few: one tile, or one in 200. The
  tiles that a pass needs are those of which something is proved.
- Randomness and dependence on the batch move the logits of every tile, so that these two checks need no more than one.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.checks.evidence import Evidence, Fooled
from raypipe.evaluation.checks.findings import TILES_PER_LOST, Finding, count_allowed, judge, require_aligned, unknown
from raypipe.evaluation.statistics.shares import exact_lower_bound

TILES_PER_POINT = 100
REPEAT_NOISE, BATCH_NOISE = 1e-4, 1e-3
BLIND = 0.9
"""Where the gradient is exactly zero in more than this share of a tile's values, an attack has next to nothing to
follow."""
UNDERFLOWING = 0.5
"""The share of tiles on which the plain cross-entropy may have no gradient."""
FOUND = 0.95
"""The share of planted adversarial examples that an attack has to find."""
LEAST_PLANTED = 15
"""On so many planted examples an attack that misses half of them fails with a probability of 98 %; on 4, of 69 %."""
CHANCE = 0.25
"""Where random points find more than this share of them, finding them shows nothing."""
LEAST_APPLICABLE = 0.5
"""The share of the tiles for which an adversarial example must have been planted."""
WHITE_BOX = "white-box attack"


def _robust(fooled: Fooled) -> str:
    return f"{100 * (1 - fooled.mean()):.1f} %"


def _count_lost(stronger: Fooled, weaker: Fooled, names: str) -> int:
    """Count the tiles that the weaker attack fools and the stronger one does not."""
    require_aligned(stronger, weaker, names)
    return int((weaker & ~stronger).sum())


def _never_weaker(stronger: Fooled | None, weaker: Fooled | None, stronger_name: str, weaker_name: str) -> Finding:
    if stronger is None or weaker is None:
        return unknown(*[stronger_name] * (stronger is None), *[weaker_name] * (weaker is None))
    lost, allowed = _count_lost(stronger, weaker, f"{stronger_name} and {weaker_name}"), count_allowed(len(weaker))
    figure = (
        f"{lost} of {len(weaker)} tiles fooled by the {weaker_name} only, at most {allowed} allowed; "
        f"robust accuracy {_robust(weaker)} under it, {_robust(stronger)} under the {stronger_name}"
    )
    return judge(lost, allowed, len(weaker), figure)


def _ascending(fooled: Mapping[int, Fooled] | Mapping[float, Fooled] | None, unit: str) -> Finding:
    """Judge whether each attack of a series fools what the one before it does."""
    if fooled is None or len(fooled) < 2:
        return unknown(f"two values of {unit}")
    series = sorted(fooled.items())
    lost = max(_count_lost(stronger, weaker, unit) for (_, weaker), (_, stronger) in pairwise(series))
    tiles = len(series[0][1])
    allowed = count_allowed(tiles)
    curve = ", ".join(f"{_robust(fooled)} at {value:.4g}" for value, fooled in series)
    figure = f"robust accuracy by {unit}: {curve}; at most {lost} tiles lost from one to the next, {allowed} allowed"
    return judge(lost, allowed, tiles, figure)


def _settled(fooled: Fooled | None, doubled: Fooled | None, what: str) -> Finding:
    """Judge whether twice as many of something fool less than a point more of the tiles."""
    if fooled is None or doubled is None:
        return unknown(*[WHITE_BOX] * (fooled is None), *[f"twice the {what}"] * (doubled is None))
    more, tiles = _count_lost(fooled, doubled, f"{what} and twice the {what}"), len(fooled)
    figure = f"twice the {what} fool {more} more of {tiles} tiles, {100 * more / tiles:.1f} points"
    if tiles <= TILES_PER_POINT:
        figure += f"; one may be, {100 / tiles:.1f} points: to judge to a point takes {TILES_PER_POINT + 1} tiles"
    return judge(more, max(1, (tiles - 1) // TILES_PER_POINT), tiles, figure)


def _agree(first: NDArray[np.generic] | None, second: NDArray[np.generic] | None, names: tuple[str, str]) -> Finding:
    if first is None or second is None:
        return unknown(*(name for name, values in zip(names, (first, second), strict=True) if values is None))
    require_aligned(first, second, " and ".join(names))
    differing = int((first != second).sum())
    return judge(differing, 0, len(first), f"{differing} of {len(first)} differ")


def more_steps_never_weaker(evidence: Evidence) -> Finding:
    """Half, as many and twice as many steps, tile by tile."""
    return _ascending(evidence.by_steps, "steps")


def larger_eps_never_weaker(evidence: Evidence) -> Finding:
    """Every radius against the next, tile by tile."""
    return _ascending(evidence.by_eps, "eps")


def iterative_beats_single_step(evidence: Evidence) -> Finding:
    """The white-box attack against one gradient step."""
    return _never_weaker(evidence.white_box, evidence.single_step, WHITE_BOX, "single-step attack")


def white_box_beats_transfer(evidence: Evidence) -> Finding:
    """The white-box attack against another model's adversarial tiles."""
    return _never_weaker(evidence.white_box, evidence.transfer, WHITE_BOX, "transfer attack")


def white_box_beats_black_box(evidence: Evidence) -> Finding:
    """The white-box attack against one that sees scores only."""
    return _never_weaker(evidence.white_box, evidence.black_box, WHITE_BOX, "black-box attack")


def iterations_suffice(evidence: Evidence) -> Finding:
    """The white-box attack against itself with twice the iterations."""
    return _settled(evidence.white_box, evidence.doubled_iterations, "iterations")


def restarts_suffice(evidence: Evidence) -> Finding:
    """The white-box attack against itself with twice the restarts."""
    return _settled(evidence.white_box, evidence.doubled_restarts, "restarts")


def gradients_exist(evidence: Evidence) -> Finding:
    """The gradient of the log odds is finite, and not zero throughout or nearly so."""
    seen = evidence.probe
    if seen is None:
        return unknown("gradients")
    tiles, broken = len(seen.finite), int((~seen.finite).sum())
    blind = int((seen.finite & ((seen.log_odds_gradient == 0) | (seen.zero_share > BLIND))).sum())
    figure = f"{blind} of {tiles} tiles without a gradient, {tiles // TILES_PER_LOST} allowed; {broken} not finite"
    return judge(tiles if broken else blind, tiles // TILES_PER_LOST, tiles, figure)


def cross_entropy_does_not_underflow(evidence: Evidence) -> Finding:
    """Judge on how many tiles the gradient of the plain cross-entropy is zero throughout."""
    seen = evidence.probe
    if seen is None:
        return unknown("gradients")
    zero, tiles = int((seen.cross_entropy_gradient == 0).sum()), len(seen.cross_entropy_gradient)
    allowed = int(UNDERFLOWING * tiles)
    return judge(max(0, zero - allowed), 0, tiles, f"{zero} of {tiles} tiles without a gradient, {allowed} allowed")


def deterministic_inference(evidence: Evidence) -> Finding:
    """Two passes of the same batch give the same logits."""
    if evidence.probe is None:
        return unknown("repeated passes")
    return _still(evidence.probe.repeat_difference, evidence.probe.spread, REPEAT_NOISE)


def batch_independent_inference(evidence: Evidence) -> Finding:
    """A tile has the same logits alone and in a batch."""
    if evidence.probe is None:
        return unknown("passes of single tiles")
    return _still(evidence.probe.batch_difference, evidence.probe.spread, BATCH_NOISE)


def _still(differences: NDArray[np.float64], spread: NDArray[np.float64], noise: float) -> Finding:
    # Written so that a difference that is no number is none that is small.
    moved = int((~(differences <= noise * spread)).sum())
    figure = f"logits of {moved} of {len(spread)} tiles differ by more than {noise:g} of their spread"
    return Finding("fail" if moved else "pass", f"{figure}; by {np.max(differences):.2g} at most")


def reproducible_predictions(evidence: Evidence) -> Finding:
    """Stored predictions against the same made again."""
    names = ("recorded predictions", "predictions made again")
    return _agree(evidence.recorded_predictions, evidence.remade_predictions, names)


def success_repeats(evidence: Evidence) -> Finding:
    """Recorded success against what the stored tiles give."""
    names = ("recorded success", "success of the stored tiles")
    return _agree(evidence.recorded_success, evidence.recomputed_success, names)


def no_proof_is_broken(evidence: Evidence) -> Finding:
    """Tiles that are proved right within a radius in which something fools the model."""
    if evidence.proof is None:
        return unknown("certificates")
    proof = evidence.proof
    broken = int((proof.smallest <= proof.radius).sum())
    proved = int((proof.radius > 0).sum())
    allowed = 0 if proof.norm == "linf" else count_allowed(len(proof.radius))
    figure = f"{broken} of {proved} certificates in {proof.norm} broken by an attack, {allowed} allowed"
    return judge(broken, allowed, proved, figure)


def planted_examples_found(evidence: Evidence) -> Finding:
    """Judge the share of planted adversarial examples that the attack finds, beside that of random points."""
    if evidence.planted is None:
        return unknown("planted adversarial examples")
    applicable, tiles = evidence.planted.applicable, len(evidence.planted.found)
    planted = int(applicable.sum())
    if planted < max(1, LEAST_APPLICABLE * tiles):
        reasons = "; ".join(sorted(set(map(str, evidence.planted.reasons[~applicable]))))
        return Finding("not applicable", f"planted for {planted} of {tiles} tiles only: {reasons}")
    found = int(evidence.planted.found[applicable].sum())
    lucky = int(evidence.planted.random_found[applicable].sum())
    low, missed = exact_lower_bound(np.array([found, planted - found], dtype=float), np.full(2, float(planted)))
    high = 1 - missed
    figure = (
        f"{found} of {planted} found, 95 % interval {100 * low:.1f} - {100 * high:.1f} %, "
        f"{100 * FOUND:.0f} % demanded; {lucky} by {evidence.planted.random_points} random points each; "
        f"planted for {planted} of {tiles} tiles"
    )
    if planted >= LEAST_PLANTED and high < FOUND:
        return Finding("fail", figure)
    obstacles = {
        f"to judge takes at least {LEAST_PLANTED}": planted < LEAST_PLANTED,
        "chance finds too many for the test to mean anything": lucky > CHANCE * planted,
        "too few to tell, more planted_tiles decide": found < FOUND * planted,
    }
    if any(obstacles.values()):
        return Finding("not applicable", f"{figure}: {next(reason for reason, holds in obstacles.items() if holds)}")
    return Finding("pass", figure)
