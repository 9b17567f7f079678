"""Evidence on a model under test, which `raypipe.evaluation.checks.rules` judges."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # these hold NumPy arrays only, but their modules import PyTorch, which judging does not need
    from raypipe.evaluation.results.artifacts import Predictions
    from raypipe.evaluation.results.certified import Proof

FooledMask = NDArray[np.bool_]
"""(n,) True where the model misclassifies the tile after an attack. Tiles that it misclassified before the attack count
too."""
LEAST_PLANTED = 15
"""Smallest number of planted examples. On 15, an attack that misses half of them fails with a probability of 98 %; on
4, with 69 %."""
Figures = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Probe:
    """The probe's figures, with one entry per tile in the order of the tiles.

    Parameters
    ----------
    log_odds_gradient
        (n,) Euclidean length of the gradient of the log odds against the true class with respect to the tile, with
        pixels in [0, 1]. The attacks of this package follow it, because it does not vanish where the model is
        confident.
    cross_entropy_gradient
        (n,) Euclidean length of the gradient of the cross-entropy from float32 logits, as published attacks take it. It
        has the same direction, but underflows to zero where the model is overconfident.
    zero_share
        (n,) share of the tile's values whose log-odds gradient is exactly zero, in [0, 1].
    finite
        (n,) True where the logits and both gradients are finite in all values.
    spread
        (n,) largest minus smallest logit. It is the scale for differences of logits.
    repeat_difference
        (n,) largest difference of a logit between two passes of the same batch. It measures randomness.
    batch_difference
        (n,) largest difference of a logit between the tile's batch and the tile alone. It measures dependence on the
        other tiles of the batch, besides float noise.
    forwards, backwards
        (n,) forward and backward passes of the probe.
    """

    log_odds_gradient: Figures
    cross_entropy_gradient: Figures
    zero_share: Figures
    finite: NDArray[np.bool_]
    spread: Figures
    repeat_difference: Figures
    batch_difference: Figures
    forwards: NDArray[np.int64]
    backwards: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PlantedSearch:
    """Results of `raypipe.evaluation.checks.planted`, with one entry per tile in the order of the tiles.

    Parameters
    ----------
    found
        (n,) True where the attack reached class 1 within the ball; False wherever the test does not apply.
    random_found
        (n,) True where at least one of the random points is of class 1. If this holds for many tiles, the attack's
        success shows little.
    reasons
        (n,) reason why the test does not apply to a tile; an empty string where it applies.
    random_points
        Number of random points per tile to which the test applies.
    forwards, backwards
        (n,) forward and backward passes of the features, the attack and the random points together.
    """

    found: NDArray[np.bool_]
    random_found: NDArray[np.bool_]
    reasons: NDArray[np.str_]
    random_points: int
    forwards: NDArray[np.int64]
    backwards: NDArray[np.int64]

    @property
    def applicable(self) -> NDArray[np.bool_]:
        """(n,) True where the test applies to the tile."""
        return np.equal(self.reasons, "")


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """Evidence on a model under test; None where it was not measured.

    Arrays that are compared must belong to the same tiles in the same order. An attack that skips the tiles that the
    white-box attack fools counts them as fooled: they cannot break a law that the white-box attack is the stronger one.

    Parameters
    ----------
    white_box
        Tiles fooled by the iterative gradient attack on the model itself, in the ball of the threat model. The checks
        judge this attack.
    single_step, transfer, black_box
        Tiles fooled in the same ball by one gradient step, by tiles crafted against another model, and by a score-based
        attack.
    doubled_iterations, doubled_restarts
        Tiles fooled by the white-box attack with twice the iterations, and with twice the restarts.
    by_steps
        Tiles fooled by the white-box attack, for each number of iterations: half as many, as many, twice as many.
    by_eps
        Tiles fooled by the white-box attack, for each radius of the ball.
    unbounded
        Tiles fooled by the white-box attack in a ball so large that it holds one image for all tiles: in L-infinity
        with an eps of 0.5, a gray image.
    labels
        (n,) true classes of the attacked tiles.
    clean
        The model's predictions of all clean test tiles, which include the attacked tiles.
    probe, planted
        Results of `raypipe.evaluation.checks.probe` and `raypipe.evaluation.checks.planted`.
    recorded_predictions, remade_predictions
        (n,) stored classes, and the classes that a second prediction by the same model gives for the same tiles.
    recorded_success, recomputed_success
        (n,) success of the white-box attack as it recorded it, and as the stored 8-bit tiles show it.
    proof
        The model's certificates, and the smallest perturbations that any attack found.
    """

    white_box: FooledMask | None = None
    single_step: FooledMask | None = None
    transfer: FooledMask | None = None
    black_box: FooledMask | None = None
    doubled_iterations: FooledMask | None = None
    doubled_restarts: FooledMask | None = None
    by_steps: Mapping[int, FooledMask] | None = None
    by_eps: Mapping[float, FooledMask] | None = None
    unbounded: FooledMask | None = None
    labels: NDArray[np.int64] | None = None
    clean: "Predictions | None" = None
    probe: "Probe | None" = None
    planted: PlantedSearch | None = None
    recorded_predictions: NDArray[np.int64] | None = None
    remade_predictions: NDArray[np.int64] | None = None
    recorded_success: NDArray[np.bool_] | None = None
    recomputed_success: NDArray[np.bool_] | None = None
    proof: "Proof | None" = None
