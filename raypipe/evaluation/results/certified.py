"""Certified accuracy: the share of tiles with a proof that no perturbation within a radius fools the model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.base.rounding import FLOAT_NOISE
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.outcomes import AdversarialExamples
from raypipe.evaluation.results.run import Run, SubjectRecord
from raypipe.evaluation.statistics.intervals import estimate_mean, group_tiles

USUAL_RADII: dict[str, tuple[float, ...]] = {"linf": (1 / 255, 2 / 255, 4 / 255, 8 / 255), "l2": (0.25, 0.5, 1.0)}
"""Radii of certified accuracy where the experiment draws no curve in the norm."""


@dataclass(frozen=True, eq=False)
class Proof:
    """The certificates of a model for the attacked tiles.

    Parameters
    ----------
    norm
        Norm of the radii.
    radius
        (n,) radius up to which the tile is proved to be classified correctly; negative where there is no such proof.
    smallest
        (n,) smallest perturbation that fooled the model; infinite where no attack fooled it.
    """

    norm: str
    radius: NDArray[np.float64]
    smallest: NDArray[np.float64]


def collect_proof(
    subject: SubjectRecord, run: Run, artifacts: Artifacts, examples: AdversarialExamples | None
) -> Proof | None:
    """Return the certificates of a model; None if it has none or was not attacked.

    Raises
    ------
    FileNotFoundError, ValueError
        If `raypipe.evaluation.results.artifacts.Artifacts` raises them, or if certificates and attacks are not of the
        same tiles.
    """
    if subject.id not in run.certificates or examples is None:
        return None
    table = artifacts.read_certificates(run.certificates[subject.id])
    ids = table["sample_id"].to_pylist()
    if ids != examples.clean.ids.tolist():
        raise ValueError(f"{subject.id}: certificates and attacks are not of the same tiles")
    (norm,) = set(table["norm"].to_pylist())
    correct = table["prediction"].to_numpy() == table["label"].to_numpy()
    return Proof(norm, np.where(correct, table["radius"].to_numpy(), -1.0), examples.smallest(norm))


def compute_certified(
    subject: SubjectRecord, proof: Proof | None, examples: AdversarialExamples | None, run: Run
) -> Iterator[dict[str, Any]]:
    """Yield the rows of `raypipe.evaluation.results.schemas.CERTIFIED` for one model."""
    if proof is None or examples is None:
        return
    groups = group_tiles(examples.clean.groups)
    for eps in (0.0, *run.radii.get(proof.norm, USUAL_RADII[proof.norm])):
        robust = proof.smallest > eps * (1 + FLOAT_NOISE)
        yield {
            **subject.columns(),
            "norm": proof.norm,
            "eps": eps,
            "tiles": len(robust),
            **estimate_mean(proof.radius >= eps, groups).columns("certified_accuracy"),
            **estimate_mean(robust, groups).columns("robust_accuracy"),
        }
