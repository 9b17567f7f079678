"""Which tiles each model gets right, under each attack and in the worst case: what models are compared by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.base.rounding import FLOAT_NOISE
from raypipe.evaluation.results.run import ITSELF, PairingRecord, Run, SubjectRecord
from raypipe.evaluation.results.tested import NORMS, Artifacts, Tested
from raypipe.evaluation.statistics.distortion import worst_case

WORST_CASE = "worst case"
CLEAN_ATTACKED = "clean on attacked tiles"
"""The record of the clean tiles that were attacked: what figures under attack are to be compared with."""


class Measure(NamedTuple):
    """A figure of a model, by the tiles that it is tested on.

    Parameters
    ----------
    name
        ``clean``, ``attacked`` (white-box or adaptive), ``static``, ``transfer`` (from any backbone), ``worst case``.
    attack
        The attack's id; None for clean tiles and the worst case over all.
    norm, eps
        The ball of the worst case; None for the worst case over tiles of any distortion.
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
    """Adversarial tiles that a model was tested on, whatever they were made for: one row for each set of them.

    Parameters
    ----------
    clean
        Predictions of those tiles when they are clean, (n,).
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

    def select(self, chosen: Sequence[bool] | NDArray[np.bool_]) -> "Examples":
        """Keep some pairings only."""
        mask = np.array(chosen, dtype=bool)
        distortions = {norm: sizes[mask] for norm, sizes in self.distortions.items()}
        pairings = tuple(pairing for pairing, taken in zip(self.pairings, mask, strict=True) if taken)
        return Examples(self.clean, pairings, self.fooled[mask], distortions, self.called[mask])

    def within(self, norm: str | None, eps: float | None) -> NDArray[np.bool_]:
        """Return which perturbations are no larger than `eps`, (attacks, n); all of them if there is no bound.

        Float noise does not make a perturbation larger.
        """
        if norm is None or eps is None:
            return np.ones(self.fooled.shape, dtype=bool)
        return self.distortions[norm] <= eps * (1 + FLOAT_NOISE)

    def smallest(self, norm: str) -> NDArray[np.float64]:
        """(n,) by how little each tile had to be changed; 0 where it is misclassified clean, infinite where nothing
        fooled the model.
        """
        return worst_case(self.clean.correct, self.fooled, self.distortions[norm])


def examples_of(subject: SubjectRecord, run: Run, artifacts: Artifacts) -> Examples | None:
    """Collect every stored adversarial tile that a model was tested on; None if it was not attacked.

    Grid, evaluation, curves and sanity checks, static and transferred tiles: what fools a model fools it, whatever the
    tile was made for.

    Raises
    ------
    ValueError
        If its sets of adversarial tiles are not of the same tiles.
    """
    own = [pairing for pairing in run.pairings if pairing.subject == subject.id]
    (clean,) = (pairing for pairing in own if pairing.protocol == "clean")
    attacked = tuple(pairing for pairing in own if pairing.protocol != "clean")
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
    """Return which tiles a model gets right, by what it is tested on.

    The sanity checks' attacks have no measure of their own, but count in the worst cases.
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
        if pairing.role == "check":
            continue
        name = "attacked" if pairing.protocol in ITSELF else pairing.protocol
        measure = Measure(name, pairing.attack)
        before = found[measure].right if measure in found else True
        found[measure] = outcome(before & ~fooled)
    for measure, right in _worst_cases(examples, run):
        found[measure] = outcome(right)
    return found


def _worst_cases(examples: Examples, run: Run) -> Iterator[tuple[Measure, NDArray[np.bool_]]]:
    balls = [(norm, eps) for norm, radii in run.radii.items() for eps in radii]
    for norm, eps in ((None, None), *balls):
        broken = (examples.fooled & examples.within(norm, eps)).any(axis=0)
        yield Measure(WORST_CASE, None, norm, eps), examples.clean.correct & ~broken
