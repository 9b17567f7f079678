"""The class that stands for no prediction, and predictions that are probabilities."""

import numpy as np
from numpy.typing import NDArray

NO_CLASS = -1
"""Prediction for a tile whose logits are not all finite, and certified prediction for a tile without a certificate.

It equals no label, so the tile counts as misclassified.
"""

SUM_ERROR = 1e-3
"""Largest difference between 1 and the sum of a row of probabilities. Half precision causes such errors."""
MOST_ROUNDING = 0.5
"""Largest such difference of probabilities that were rounded to a few decimals."""
SCALES = (1, 100)
"""Sums of a row: shares, and percent."""
DECIMALS = (1, 2, 3)
"""Numbers of decimals to which wrappers of a model round its probabilities."""


def are_probabilities(outputs: NDArray[np.floating]) -> bool:
    """Return True if rows of outputs (n, classes) are probabilities, as shares or in percent.

    Rows that are not finite are ignored. Values of a row are at least 0 and sum to 1 or to 100, up to errors of
    rounding. Logits are such rows only by a chance that vanishes with their number.
    """
    rows = outputs[np.isfinite(outputs).all(1)].astype(np.float64)
    if not len(rows) or rows.min() < 0:
        return False
    return any(_sum_to_one(rows / scale) for scale in SCALES)


def _sum_to_one(rows: NDArray[np.float64]) -> bool:
    """Return True if rows of values from 0 on sum to 1, up to the rounding that the values show."""
    rounded = [digits for digits in DECIMALS if np.allclose(rows, rows.round(digits), rtol=0, atol=1e-6)]
    rounding = min(MOST_ROUNDING, rows.shape[1] * 0.5 * 10.0 ** -rounded[0]) if rounded else 0.0
    return bool((np.abs(rows.sum(1) - 1) <= SUM_ERROR + rounding).all())
