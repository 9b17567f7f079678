"""The class that stands for no prediction, and predictions that are probabilities."""

import numpy as np
from numpy.typing import NDArray

NO_CLASS = -1
"""Prediction for a tile whose logits are not all finite, and certified prediction for a tile without a certificate.

It equals no label, so the tile counts as misclassified.
"""

SUM_ERROR = 1e-3
"""Largest difference between 1 and the sum of a row of probabilities. Half precision causes such errors."""


def are_probabilities(outputs: NDArray[np.floating]) -> bool:
    """Return True if rows of outputs (n, classes) are probabilities, in [0, 1] with a sum of 1.

    Rows that are not finite are ignored. Logits are such rows only by a chance that vanishes with their number.
    """
    rows = outputs[np.isfinite(outputs).all(1)].astype(np.float64)
    within = len(rows) > 0 and bool(rows.min() >= 0) and bool(rows.max() <= 1)
    return within and bool((np.abs(rows.sum(1) - 1) <= SUM_ERROR).all())
