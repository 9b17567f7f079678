"""AttackBench's measure of attacks (Cina et al., 2024, arXiv:2404.19460): the closeness to the best of all attacks."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Distances = NDArray[np.float64]


def local_optimality(own: Sequence[float], best: Sequence[float]) -> float:
    """Return an attack's share of the way from no attack to the best of all attacks, on one model.

    The robustness curve of an attack is the share of tiles that stay correct at each radius. The best of all attacks is
    the lower envelope of all curves. The areas under the curves are compared up to the radius at which the envelope is
    0.

    Parameters
    ----------
    own
        (n,) smallest perturbation of each tile that the attack found; 0 for a tile that needs none, infinite where it
        found none.
    best
        (n,) smallest perturbation of each tile that any attack found; finite.

    Returns
    -------
    float
        1 for an attack that is the best on every tile, 0 for one that never succeeds within the radius.

    Raises
    ------
    ValueError
        If no attack fooled a tile, or this attack fooled it with less than the best.

    Notes
    -----
    The area under a step curve up to the radius r is the mean of min(distance, r), and is computed so. The authors'
    code integrates by trapezoids.
    """
    found, envelope = np.asarray(own, dtype=np.float64), np.asarray(best, dtype=np.float64)
    if not np.isfinite(envelope).all() or (found < envelope).any():
        raise ValueError("best: expected a finite distance for each tile, and none larger than the attack's own")
    radius = envelope.max()
    standing = np.count_nonzero(envelope) / len(envelope)
    span = standing * radius - envelope.mean()
    excess = np.minimum(found, radius).mean() - envelope.mean()
    if span <= 0:  # every tile needs the same, so the best curve equals the clean one up to the radius
        return 1.0 if excess <= 0 else 0.0
    return float(1 - excess / span)


def local_optimalities(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the optimality of each attack on one model, over the tiles that at least one attack fooled.

    Parameters
    ----------
    found
        Distances by attack, as in `local_optimality`, all over the same tiles.
    """
    if not found:
        return {}
    table = np.array(list(found.values()), dtype=np.float64)
    best = table.min(axis=0)
    fooled = np.isfinite(best)
    if not fooled.any():
        return dict.fromkeys(found, 0.0)
    rows = zip(found, table[:, fooled], strict=True)
    return {name: local_optimality(row.tolist(), best[fooled].tolist()) for name, row in rows}


def global_optimality(local: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over models of each attack's local optimality; 0 on a model where it has none."""
    names = dict.fromkeys(name for one in local for name in one)
    return {name: sum(one.get(name, 0.0) for one in local) / len(local) for name in names}
