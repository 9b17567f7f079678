"""Outcomes: the tiles that each model classifies correctly, under each attack and in the worst case."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.base.norms import STORED_NORMS
from raypipe.base.rounding import FLOAT_NOISE
from raypipe.evaluation.protocols import ITSELF, Protocol, Role
from raypipe.evaluation.results.artifacts import Artifacts, Predictions
from raypipe.evaluation.results.run import PairingRecord, Run, SubjectRecord
from raypipe.evaluation.statistics.distortion import find_worst_case

WORST_CASE = "worst case"
CLEAN_ATTACKED = "clean on attacked tiles"
"""Name of the record of the clean versions of the attacked tiles. Figures under attack are compared with it."""


class Measure(NamedTuple):
    """The name of a figure of a model, given by the tiles that the model is tested on.

    Parameters
    ----------
    name
        ``clean``, ``attacked`` (white-box or adaptive), ``static``, ``transfer`` (from any backbone), ``worst case``.
    attack
        The attack's id; None for clean tiles and for the worst case over attacks.
    norm, eps
        Norm and radius of the worst case's ball; None for the worst case over perturbations of any size.
    """

    name: str
    attack: str | None = None
    norm: str | None = None
    eps: float | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """The tiles that a model classifies correctly, sorted by their ids.

    Parameters
    ----------
    ids, groups, labels
        (n,) ids, groups and true classes of the tiles.
    correct
        (n,) True where the model classifies the tile correctly.
    """

    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    labels: NDArray[np.int64]
    correct: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class AdversarialExamples:
    """Adversarial tiles that a model was tested on, whatever their protocol. Each pairing has one row.

    Parameters
    ----------
    clean
        Predictions of the n tiles without an attack.
    pairings
        (attacks,) records of the tiles' origin.
    fooled
        (attacks, n) True where the model misclassifies the adversarial tile.
    distortions
        (attacks, n) sizes of the perturbations, by norm.
    predictions
        (attacks, n) classes that the model predicts for them.
    """

    clean: Predictions
    pairings: tuple[PairingRecord, ...]
    fooled: NDArray[np.bool_]
    distortions: dict[str, NDArray[np.float64]]
    predictions: NDArray[np.int64]

    def select(self, pairings_mask: Sequence[bool] | NDArray[np.bool_]) -> "AdversarialExamples":
        """Return the examples of some pairings only."""
        mask = np.array(pairings_mask, dtype=bool)
        distortions = {norm: sizes[mask] for norm, sizes in self.distortions.items()}
        pairings = tuple(pairing for pairing, keep in zip(self.pairings, mask, strict=True) if keep)
        return AdversarialExamples(self.clean, pairings, self.fooled[mask], distortions, self.predictions[mask])

    def within(self, norm: str | None, eps: float | None) -> NDArray[np.bool_]:
        """Return a mask (attacks, n) of the perturbations that are at most `eps`; all True if there is no bound.

        Float noise does not make a perturbation larger.
        """
        if norm is None or eps is None:
            return np.ones(self.fooled.shape, dtype=bool)
        return self.distortions[norm] <= eps * (1 + FLOAT_NOISE)

    def smallest(self, norm: str) -> NDArray[np.float64]:
        """Return the smallest perturbation of each tile that fooled the model, (n,).

        It is 0 where the clean tile is misclassified, and infinite where no attack fooled the model.
        """
        return find_worst_case(self.clean.correct, self.fooled, self.distortions[norm])


def collect_examples(subject: SubjectRecord, run: Run, artifacts: Artifacts) -> AdversarialExamples | None:
    """Collect every stored adversarial tile that a model was tested on; None if it was not attacked.

    The tiles come from the grid, the evaluation, the curves and the sanity checks, and include static and transfer
    tiles. A tile that fools the model counts, whatever it was crafted for.

    Raises
    ------
    ValueError
        If the model's sets of adversarial tiles are not of the same tiles.
    """
    pairings = run.find_pairings(subject.id)
    clean = run.find_clean_pairing(subject.id)
    attacks = tuple(pairing for pairing in pairings if pairing.protocol != Protocol.CLEAN)
    if not attacks:
        return None
    predictions = [artifacts.read_predictions(pairing) for pairing in attacks]
    perturbed = [artifacts.read_adversarials(pairing) for pairing in attacks]
    ids = predictions[0].ids
    for pairing, prediction, adversarials in zip(attacks, predictions, perturbed, strict=True):
        if not (np.array_equal(ids, prediction.ids) and np.array_equal(ids, adversarials.ids)):
            raise ValueError(f"{subject.id}: {pairing.attack} and {attacks[0].attack} were run on different tiles")
    return AdversarialExamples(
        artifacts.read_predictions(clean).at(ids),
        attacks,
        np.stack([~prediction.correct for prediction in predictions]),
        {norm: np.stack([adversarials.distortions[norm] for adversarials in perturbed]) for norm in STORED_NORMS},
        np.stack([prediction.predicted for prediction in predictions]),
    )


def compute_outcomes(
    subject: SubjectRecord, run: Run, artifacts: Artifacts, examples: AdversarialExamples | None
) -> dict[Measure, Outcome]:
    """Return the tiles that a model classifies correctly, by measure.

    The attacks of the sanity checks have no measure of their own, but count in the worst cases. The transfer tiles of
    one attack count together: a tile is correct only if it is correct from every backbone.
    """
    clean = run.find_clean_pairing(subject.id)
    predictions = artifacts.read_predictions(clean)
    outcomes = {Measure("clean"): Outcome(predictions.ids, predictions.groups, predictions.labels, predictions.correct)}
    if examples is None:
        return outcomes

    def outcome(correct: NDArray[np.bool_]) -> Outcome:
        return Outcome(examples.clean.ids, examples.clean.groups, examples.clean.labels, correct)

    for pairing, fooled in zip(examples.pairings, examples.fooled, strict=True):
        if pairing.role == Role.CHECK:
            continue
        name = "attacked" if pairing.protocol in ITSELF else pairing.protocol
        measure = Measure(name, pairing.attack)
        earlier = outcomes[measure].correct if measure in outcomes else True
        outcomes[measure] = outcome(earlier & ~fooled)
    for measure, correct in _find_worst_cases(examples, run):
        outcomes[measure] = outcome(correct)
    return outcomes


def _find_worst_cases(examples: AdversarialExamples, run: Run) -> Iterator[tuple[Measure, NDArray[np.bool_]]]:
    balls = [(norm, eps) for norm, radii in run.radii.items() for eps in radii]
    for norm, eps in ((None, None), *balls):
        fooled = (examples.fooled & examples.within(norm, eps)).any(axis=0)
        yield Measure(WORST_CASE, None, norm, eps), examples.clean.correct & ~fooled
