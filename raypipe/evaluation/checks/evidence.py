"""What is known of a model under test, for `raypipe.evaluation.checks.rules` to judge."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # all hold NumPy arrays only, but their modules import PyTorch, which judging does not need
    from raypipe.evaluation.checks.probe import Probe
    from raypipe.evaluation.results.certified import Proof
    from raypipe.evaluation.results.tested import Tested

Fooled = NDArray[np.bool_]
"""(n,) whether each tile is misclassified after an attack, those included that were misclassified before it."""


@dataclass(frozen=True, eq=False)
class Planted:
    """What `raypipe.evaluation.checks.planted` found: one entry per tile, in the order of the tiles.

    Parameters
    ----------
    found
        (n,) whether the attack reached class 1 within the ball; never where the test does not apply.
    random_found
        (n,) whether one of the random points is of class 1. Where many are, finding one is no achievement.
    reasons
        (n,) why the test does not apply to a tile; an empty string where it does.
    random_points
        How many were drawn for each tile to which it applies.
    forwards, backwards
        (n,) passes spent, on features, attack and random points together.
    """

    found: NDArray[np.bool_]
    random_found: NDArray[np.bool_]
    reasons: NDArray[np.str_]
    random_points: int
    forwards: NDArray[np.int64]
    backwards: NDArray[np.int64]

    @property
    def applicable(self) -> NDArray[np.bool_]:
        """(n,) whether the test applies to a tile."""
        return np.equal(self.reasons, "")


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """None is what is not known. What is compared must be of the same tiles in the same order.

    Parameters
    ----------
    white_box
        Fooled by the iterative gradient attack on the model itself, in the ball of the threat model: the attack that is
        judged.
    single_step, transfer, black_box
        In the same ball by one gradient step, by tiles made against another model, by an attack that sees scores only.
    doubled_iterations, doubled_restarts
        By the white-box attack with twice as many.
    by_steps
        By the white-box attack, for each number of iterations: half as many, as many, twice as many.
    by_eps
        By the white-box attack, for each radius of the ball.
    unbounded
        By the white-box attack in a ball so large that all tiles share an image: in linf with eps of 0.5, a grey one.
    labels
        (n,) true classes of the attacked tiles.
    clean
        The model's predictions of all clean test tiles, of which those that are attacked are a part.
    probe, planted
        From `raypipe.evaluation.checks.probe` and `raypipe.evaluation.checks.planted`.
    recorded_predictions, remade_predictions
        (n,) classes as they are stored, and made once more with the same model from the same tiles.
    recorded_success, recomputed_success
        (n,) whether the white-box attack succeeded, as it recorded, and by the stored 8-bit tiles.
    proof
        What is proved of the model, beside the smallest perturbations that any attack found.
    """

    white_box: Fooled | None = None
    single_step: Fooled | None = None
    transfer: Fooled | None = None
    black_box: Fooled | None = None
    doubled_iterations: Fooled | None = None
    doubled_restarts: Fooled | None = None
    by_steps: Mapping[int, Fooled] | None = None
    by_eps: Mapping[float, Fooled] | None = None
    unbounded: Fooled | None = None
    labels: NDArray[np.int64] | None = None
    clean: "Tested | None" = None
    probe: "Probe | None" = None
    planted: Planted | None = None
    recorded_predictions: NDArray[np.int64] | None = None
    remade_predictions: NDArray[np.int64] | None = None
    recorded_success: NDArray[np.bool_] | None = None
    recomputed_success: NDArray[np.bool_] | None = None
    proof: "Proof | None" = None
