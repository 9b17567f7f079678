"""The goals of raypipe's attacks, and the verdicts on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import NamedTuple

from benchmarks.attacks.contestants import FAMILIES
from benchmarks.attacks.rows import Row

Name = tuple[str, str, str]
"""Family, library and label of a contestant."""


class Reading(NamedTuple):
    """A measured value, with its number of tiles, a flag if it is only a lower bound, and a note."""

    value: float
    tiles: int
    lower_bound: bool = False
    note: str = ""


class MissingError(LookupError):
    """A figure that a goal needs and that was not measured; the message names it."""


@dataclass(frozen=True)
class Goal:
    """A goal of an attack.

    Parameters
    ----------
    attack
        Family under which the goal is listed.
    text
        Description in words, without the threshold.
    measure
        Function from the rows of a victim to the value reached; it raises `MissingError`.
    at_least, at_most
        Thresholds; exactly one is set.
    at_224
        Other threshold for tiles of 224 pixels or more.
    """

    attack: str
    text: str
    measure: Callable[[Sequence[Row]], Reading]
    at_least: float | None = None
    at_most: float | None = None
    at_224: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The result of a goal on one victim; `met` is None if it could not be measured, and `note` gives the reason."""

    victim: str
    attack: str
    goal: str
    wanted: str
    got: float | None
    met: bool | None
    tiles: int | None
    note: str


def verdicts(rows: Sequence[Row], size: int) -> list[Verdict]:
    """Judge one victim's rows by all goals of the families that attacked it.

    Parameters
    ----------
    rows
        Rows of one victim.
    size
        Size of its tiles in pixels.
    """
    families = {row.attack for row in rows}
    return [_verdict(goal, rows, size) for goal in GOALS if goal.attack in families]


def _verdict(goal: Goal, rows: Sequence[Row], size: int) -> Verdict:
    threshold = goal.at_least if goal.at_least is not None else goal.at_most
    if threshold is None:
        raise ValueError(f"goal {goal.text!r}: expected at_least or at_most")
    if size >= 224 and goal.at_224 is not None:
        threshold = goal.at_224
    larger_is_better = goal.at_least is not None
    wanted = f"{'>=' if larger_is_better else '<='} {threshold:g}"
    victim = rows[0].victim
    try:
        reading = goal.measure(rows)
    except MissingError as error:
        return Verdict(victim, goal.attack, goal.text, wanted, None, None, None, str(error))
    value = reading.value
    met: bool | None = value >= threshold if larger_is_better else value <= threshold
    notes = [reading.note] if reading.note else []
    if reading.lower_bound:
        notes.insert(0, "a lower bound: the time limit ended some tiles")
        met = met or None
    elif not met:
        notes.insert(0, f"missed by {abs(value / threshold - 1):.0%}" if threshold else "missed")
    return Verdict(victim, goal.attack, goal.text, wanted, value, met, reading.tiles, "; ".join(notes))


def _row(rows: Sequence[Row], name: Name, tiles: int | None = None) -> Row:
    """Return a contestant's row on `tiles` tiles; by default on the most tiles."""
    fits = [row for row in rows if (row.attack, row.library, row.label) == name and tiles in (None, row.tiles)]
    if not fits:
        raise MissingError(f"{' '.join(name[1:])} did not run" + (f" on {tiles} tiles" if tiles else ""))
    row = max(fits, key=lambda row: row.tiles)
    if row.error is not None:
        raise MissingError(f"{' '.join(name[1:])}: {row.error}")
    return row


def _both(rows: Sequence[Row], own: Name, peer: Name) -> tuple[Row, Row]:
    """Return both contestants' rows on the same tiles, the largest set that both ran on."""
    counts = [{row.tiles for row in rows if (row.attack, row.library, row.label) == name} for name in (own, peer)]
    if not all(counts):
        return _row(rows, own), _row(rows, peer)  # one of these calls raises an error
    shared = counts[0] & counts[1]
    if not shared:
        raise MissingError(f"{' '.join(own[1:])} and {' '.join(peer[1:])} ran on different tiles")
    return _row(rows, own, max(shared)), _row(rows, peer, max(shared))


def _speed(own: Name, peer: Name) -> Callable[[Sequence[Row]], Reading]:
    def measure(rows: Sequence[Row]) -> Reading:
        ours, theirs = _both(rows, own, peer)
        return Reading(theirs.time / ours.time, ours.tiles, lower_bound=theirs.cut_off > 0)

    return measure


def _floor(own: Name) -> Callable[[Sequence[Row]], Reading]:
    def measure(rows: Sequence[Row]) -> Reading:
        ours = _row(rows, own)
        if ours.over_floor is None or ours.over_passes is None:
            raise MissingError(f"{ours.label} has no floor")
        note = f"{ours.over_passes:.2f} over its passes in batches as small as it made them"
        return Reading(ours.over_floor, ours.tiles, note=note)

    return measure


def _success(own: Name, peer: Name | None = None) -> Callable[[Sequence[Row]], Reading]:
    """Return a measure of the success rate, or of its excess over another contestant's."""

    def measure(rows: Sequence[Row]) -> Reading:
        if peer is None:
            ours = _row(rows, own)
            return Reading(ours.asr, ours.tiles)
        ours, theirs = _both(rows, own, peer)
        return Reading(ours.asr - theirs.asr, ours.tiles)

    return measure


def _pairs(rows: Sequence[Row], own: Name, peer: Name) -> list[tuple[float, float]]:
    """Return the distortions of the tiles on which both succeed, in the family's norm."""
    ours, theirs = _both(rows, own, peer)
    norm = FAMILIES[own[0]]
    columns = zip(ours.lengths(norm), theirs.lengths(norm), ours.success, theirs.success, strict=True)
    found = [(a, b) for a, b, success, other in columns if success and other]
    if not found:
        raise MissingError(f"{ours.label} and {theirs.label} succeed together on no tile")
    return found


def _distortion(
    own: Name, peer: Name, summary: Callable[[Sequence[float]], float] = mean
) -> Callable[[Sequence[Row]], Reading]:
    """Return a measure of the mean distortion as a multiple of another's, over tiles on which both succeed."""

    def measure(rows: Sequence[Row]) -> Reading:
        pairs = _pairs(rows, own, peer)
        return Reading(summary([a for a, _ in pairs]) / summary([b for _, b in pairs]), len(pairs))

    return measure


def _clearly_longer(own: Name, peer: Name) -> Callable[[Sequence[Row]], Reading]:
    """Return a measure of the share of tiles on which the distortion is more than 5 % larger."""

    def measure(rows: Sequence[Row]) -> Reading:
        pairs = _pairs(rows, own, peer)
        return Reading(mean(float(a > 1.05 * b) for a, b in pairs), len(pairs))

    return measure


def _passes(own: Name) -> Callable[[Sequence[Row]], Reading]:
    def measure(rows: Sequence[Row]) -> Reading:
        ours = _row(rows, own)
        return Reading(max(ours.forwards, ours.backwards), ours.tiles)

    return measure


def _speed_per_step(own: Name, peer: Name) -> Callable[[Sequence[Row]], Reading]:
    """Return a measure of the time per backward pass, as a multiple of another's time for a single step."""

    def measure(rows: Sequence[Row]) -> Reading:
        ours, theirs = _row(rows, own), _row(rows, peer)
        return Reading(theirs.time / (ours.time / max(1.0, ours.backwards)), ours.tiles)

    return measure


def _same_features(own: Name, peer: Name) -> Callable[[Sequence[Row]], Reading]:
    """Return a measure of the share of tiles with the same changed features, among those that both finished."""

    def measure(rows: Sequence[Row]) -> Reading:
        ours, theirs = _both(rows, own, peer)
        if ours.images is None or theirs.images is None:
            raise MissingError("the images are not part of a stored record")
        both = [i for i, success in enumerate(ours.success) if success and theirs.success[i]]
        if not both:
            raise MissingError(f"{ours.label} and {theirs.label} finish together on no tile")
        same = [bool((ours.images[i] - theirs.images[i]).abs().amax() < 1e-4) for i in both]
        return Reading(mean(map(float, same)), len(both))

    return measure


def _ours(attack: str, label: str) -> Name:
    return attack, "raypipe", label


_EXACT, _LAZY = _ours("deepfool", "exact"), _ours("deepfool", "lazy")
_DF_ART, _DF_ART_FULL, _DF_ADV, _DF_FOOLBOX = (
    ("deepfool", "ART", "batch 1"),
    ("deepfool", "ART", "full batch"),
    ("deepfool", "adv-lib", "df"),
    ("deepfool", "foolbox", "L2DeepFool"),
)
_CW = "carlini_wagner_l2"
_FAST, _HIGH = _ours(_CW, "adaptive 30"), _ours(_CW, "adaptive 80")
_CW_ART, _CW_ART_FULL, _CW_ADV = (_CW, "ART", "batch 1"), (_CW, "ART", "10x10 full batch"), (_CW, "adv-lib", "9x100")
_MINIMAL, _DDN = _ours("minimal_l2", "minimal_l2"), ("minimal_l2", "adv-lib", "ddn 100")
_RULE, _GROWING = _ours("saliency_map", "art rule"), _ours("saliency_map", "growing")
_JSMA_ART, _ONE_STEP = ("saliency_map", "ART", "batch 1"), ("saliency_map", "torchattacks", "one step")
_SPARSE, _SIGMA = _ours("sparse_l0", "sparse_l0"), ("sparse_l0", "adv-lib", "sigma_zero 100")
_PGD, _PGD_ART, _PGD_TORCH = _ours("pgd", "pgd 40"), ("pgd", "ART", "PGD 40"), ("pgd", "torchattacks", "PGD 40")
_APGD, _APGD_ART, _APGD_TORCH = (
    _ours("apgd", "apgd 20"),
    ("apgd", "ART", "APGD-CE 20"),
    ("apgd", "torchattacks", "APGD-CE 20"),
)
_AUTO, _AUTO_TORCH = _ours("autoattack", "standard"), ("autoattack", "torchattacks", "standard")

GOALS = (
    Goal("deepfool", "lazy: speed over ART's default", _speed(_LAZY, _DF_ART), at_least=40),
    Goal("deepfool", "exact: speed over ART, full batch", _speed(_EXACT, _DF_ART_FULL), at_least=40),
    Goal("deepfool", "lazy: speed over ART, full batch", _speed(_LAZY, _DF_ART_FULL), at_least=60),
    Goal("deepfool", "lazy: speed over adv-lib's df", _speed(_LAZY, _DF_ADV), at_least=1.4),
    Goal("deepfool", "lazy: speed over foolbox's", _speed(_LAZY, _DF_FOOLBOX), at_least=2.5),
    Goal("deepfool", "exact: time over its floor", _floor(_EXACT), at_most=1.1),
    Goal("deepfool", "lazy: time over its floor", _floor(_LAZY), at_most=1.1),
    Goal("deepfool", "exact: success", _success(_EXACT), at_least=1),
    Goal("deepfool", "lazy: success", _success(_LAZY), at_least=1),
    Goal("deepfool", "lazy: mean L2 over ART's, full batch", _distortion(_LAZY, _DF_ART_FULL), at_most=1.04),
    Goal(_CW, "fast: speed over ART's default", _speed(_FAST, _CW_ART), at_least=40, at_224=20),
    Goal(_CW, "fast: speed over ART, full batch", _speed(_FAST, _CW_ART_FULL), at_least=20),
    Goal(_CW, "fast: speed over adv-lib's 9x100", _speed(_FAST, _CW_ADV), at_least=15),
    Goal(_CW, "fast: time over its floor", _floor(_FAST), at_most=1.2),
    Goal(_CW, "fast: success", _success(_FAST), at_least=1),
    Goal(_CW, "fast: mean L2 over ART's, full batch", _distortion(_FAST, _CW_ART_FULL), at_most=0.92),
    Goal(_CW, "fast: tiles with an L2 over 5 % longer than ART's", _clearly_longer(_FAST, _CW_ART_FULL), at_most=0.1),
    Goal(_CW, "high quality: speed over ART's default", _speed(_HIGH, _CW_ART), at_least=10),
    Goal(_CW, "high quality: speed over adv-lib's 9x100", _speed(_HIGH, _CW_ADV), at_least=8),
    Goal(_CW, "high quality: mean L2 over adv-lib's 9x100", _distortion(_HIGH, _CW_ADV), at_most=1.02),
    Goal("minimal_l2", "minimal_l2: mean L2 over adv-lib's DDN 100", _distortion(_MINIMAL, _DDN), at_most=1.02),
    Goal("minimal_l2", "minimal_l2: speed over adv-lib's DDN 100", _speed(_MINIMAL, _DDN), at_least=3),
    Goal("minimal_l2", "minimal_l2: passes of a kind", _passes(_MINIMAL), at_most=25),
    Goal("minimal_l2", "minimal_l2: success", _success(_MINIMAL), at_least=1),
    Goal("saliency_map", "ART's rule: speed over ART's default", _speed(_RULE, _JSMA_ART), at_least=5),
    Goal("saliency_map", "ART's rule: speed of a step over torchattacks'", _speed_per_step(_RULE, _ONE_STEP), 100),
    Goal("saliency_map", "ART's rule: time over its floor", _floor(_RULE), at_most=1.3),
    Goal("saliency_map", "ART's rule: tiles with ART's features", _same_features(_RULE, _JSMA_ART), at_least=1),
    Goal("saliency_map", "growing: speed over ART's default", _speed(_GROWING, _JSMA_ART), at_least=60),
    Goal("saliency_map", "growing: success less ART's rule's", _success(_GROWING, _RULE), at_least=0),
    Goal("saliency_map", "growing: median L0 over ART's rule's", _distortion(_GROWING, _RULE, median), at_most=1.1),
    Goal("sparse_l0", "sparse_l0: speed over ART's saliency map", _speed(_SPARSE, _JSMA_ART), at_least=60),
    Goal("sparse_l0", "sparse_l0: speed over sigma-zero 100", _speed(_SPARSE, _SIGMA), at_least=2),
    Goal("sparse_l0", "sparse_l0: mean L0 over sigma-zero 100's", _distortion(_SPARSE, _SIGMA), at_most=1),
    Goal("sparse_l0", "sparse_l0: median L0 over sigma-zero 100's", _distortion(_SPARSE, _SIGMA, median), at_most=1),
    Goal("sparse_l0", "sparse_l0: success", _success(_SPARSE), at_least=1),
    Goal("pgd", "pgd: speed over ART", _speed(_PGD, _PGD_ART), at_least=2.5),
    Goal("pgd", "pgd: speed over torchattacks", _speed(_PGD, _PGD_TORCH), at_least=1.8),
    Goal("pgd", "pgd: time over its floor", _floor(_PGD), at_most=1.1),
    Goal("pgd", "pgd: success less ART's", _success(_PGD, _PGD_ART), at_least=0),
    Goal("pgd", "pgd: success less torchattacks'", _success(_PGD, _PGD_TORCH), at_least=0),
    Goal("apgd", "apgd: speed over ART", _speed(_APGD, _APGD_ART), at_least=2),
    Goal("apgd", "apgd: speed over torchattacks", _speed(_APGD, _APGD_TORCH), at_least=1),
    Goal("apgd", "apgd: time over its floor", _floor(_APGD), at_most=1.1),
    Goal("apgd", "apgd: success less ART's", _success(_APGD, _APGD_ART), at_least=0),
    Goal("apgd", "apgd: success less torchattacks'", _success(_APGD, _APGD_TORCH), at_least=0),
    Goal("autoattack", "standard: speed over torchattacks", _speed(_AUTO, _AUTO_TORCH), at_least=2),
    Goal("autoattack", "standard: success less torchattacks'", _success(_AUTO, _AUTO_TORCH), at_least=0),
)
