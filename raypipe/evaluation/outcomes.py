"""Which tiles each model gets right, under each attack and in the worst case: what models are compared by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.distortion import FLOAT_NOISE, worst_case
from raypipe.evaluation.run import ITSELF, PairingRecord, Run, SubjectRecord
from raypipe.evaluation.settings import REFERENCE
from raypipe.evaluation.tested import NORMS, Artifacts, Tested

WORST_CASE = "worst case"
UNBOUNDED = ("grid", "evaluation")
"""The roles whose attacks count in a worst case without a bound: a curve's or a check's say nothing without theirs."""


class Measure(NamedTuple):
    """What a model is put to.

    Parameters
    ----------
    name
        ``clean``, ``attacked`` (itself, anew), ``static``, ``transfer`` (from any other backbone), ``worst case``.
    attack
        The attack's id; None for clean tiles and the worst case over all.
    norm, eps
        Of the worst case within a ball; None without a bound.
    """

    name: str
    attack: str | None = None
    norm: str | None = None
    eps: float | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """Which tiles a model gets right, sorted by their ids.

    Parameters
    ----------
    ids, groups, labels, right
        (n,) of the tiles.
    """

    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    labels: NDArray[np.int64]
    right: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Examples:
    """All adversarial tiles that a model met, over the tiles that were attacked.

    Parameters
    ----------
    clean
        What it makes of those tiles when they are clean, (n,).
    pairings
        (attacks,) where the tiles come from.
    fooled
        (attacks, n) whether it misclassifies them.
    distortions
        By norm: (attacks, n) the size of the perturbation.
    called
        (attacks, n) what it says of them.
    """

    clean: Tested
    pairings: tuple[PairingRecord, ...]
    fooled: NDArray[np.bool_]
    distortions: dict[str, NDArray[np.float64]]
    called: NDArray[np.int64]

    def of(self, chosen: Sequence[bool] | NDArray[np.bool_]) -> "Examples":
        """Those of some pairings only."""
        mask = np.array(chosen, dtype=bool)
        distortions = {norm: sizes[mask] for norm, sizes in self.distortions.items()}
        pairings = tuple(pairing for pairing, taken in zip(self.pairings, mask, strict=True) if taken)
        return Examples(self.clean, pairings, self.fooled[mask], distortions, self.called[mask])

    @property
    def without_bound(self) -> NDArray[np.bool_]:
        """(attacks,) which count in a worst case without a bound."""
        return np.array([pairing.role in UNBOUNDED for pairing in self.pairings], dtype=bool)

    def within(self, norm: str, eps: float) -> NDArray[np.bool_]:
        """(attacks, n) whether the perturbation is no larger than `eps`; float noise is none."""
        return self.distortions[norm] <= eps * (1 + FLOAT_NOISE)

    def smallest(self, norm: str) -> NDArray[np.float64]:
        """(n,) by how little each tile had to be changed; 0 where it is misclassified clean, infinite where nothing
        fooled the model.
        """
        return worst_case(self.clean.correct, self.fooled, self.distortions[norm])


def examples_of(subject: SubjectRecord, run: Run, artifacts: Artifacts) -> Examples | None:
    """All that a model was attacked with, but for the sanity checks' variations; None if it was not attacked.

    Raises
    ------
    ValueError
        If its sets of adversarial tiles are not of the same tiles.
    """
    own = [pairing for pairing in run.pairings if pairing.subject == subject.id]
    (clean,) = (pairing for pairing in own if pairing.protocol == "clean")
    attacked = tuple(
        pairing
        for pairing in own
        if pairing.protocol != "clean"
        if pairing.role != "check" or pairing.attack == REFERENCE
    )
    if not attacked:
        return None
    met = [artifacts.tested(pairing) for pairing in attacked]
    perturbed = [artifacts.perturbed(pairing) for pairing in attacked]
    ids = met[0].ids
    for pairing, tested, made in zip(attacked, met, perturbed, strict=True):
        if not (np.array_equal(ids, tested.ids) and np.array_equal(ids, made.ids)):
            raise ValueError(f"{subject.id}: {pairing.attack} and {attacked[0].attack} are not of the same tiles")
    return Examples(
        artifacts.tested(clean).at(ids),
        attacked,
        np.stack([~tested.correct for tested in met]),
        {norm: np.stack([made.distortions[norm] for made in perturbed]) for norm in NORMS},
        np.stack([tested.predicted for tested in met]),
    )


def outcomes_of(
    subject: SubjectRecord, run: Run, artifacts: Artifacts, examples: Examples | None
) -> dict[Measure, Outcome]:
    """What a model gets right, by what it is put to.

    Transferred tiles of one attack count together: a tile is right if it is, from whatever backbone it came.
    """
    (clean,) = (pairing for pairing in run.pairings if pairing.subject == subject.id and pairing.protocol == "clean")
    tested = artifacts.tested(clean)
    found = {Measure("clean"): Outcome(tested.ids, tested.groups, tested.labels, tested.correct)}
    if examples is None:
        return found

    def outcome(right: NDArray[np.bool_]) -> Outcome:
        return Outcome(examples.clean.ids, examples.clean.groups, examples.clean.labels, right)

    for pairing, fooled in zip(examples.pairings, examples.fooled, strict=True):
        name = "attacked" if pairing.protocol in ITSELF else pairing.protocol
        measure = Measure(name, pairing.attack)
        before = found[measure].right if measure in found else True
        found[measure] = outcome(before & ~fooled)
    for measure, right in _worst_cases(examples, run):
        found[measure] = outcome(right)
    return found


def _worst_cases(examples: Examples, run: Run) -> Iterator[tuple[Measure, NDArray[np.bool_]]]:
    if examples.without_bound.any():
        yield Measure(WORST_CASE), examples.clean.correct & ~examples.fooled[examples.without_bound].any(axis=0)
    for norm, radii in run.radii.items():
        for eps in radii:
            broken = (examples.fooled & examples.within(norm, eps)).any(axis=0)
            yield Measure(WORST_CASE, None, norm, eps), examples.clean.correct & ~broken
