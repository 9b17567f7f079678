"""Curves of robust accuracy against the size of the perturbation, for each attack and in the worst case."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from raypipe.base.norms import STORED_NORMS
from raypipe.evaluation.protocols import ITSELF
from raypipe.evaluation.results.outcomes import AdversarialExamples
from raypipe.evaluation.results.records import build_quartile_columns
from raypipe.evaluation.results.run import PairingRecord, Run, SubjectRecord
from raypipe.evaluation.statistics.distortion import build_eps_grid, compute_quartiles, compute_robust_accuracy
from raypipe.evaluation.statistics.intervals import group_tiles


class _Curve(NamedTuple):
    """A model, an attack (None for the worst case), and the adversarial tiles of the curve."""

    subject: SubjectRecord
    attack: str | None
    examples: AdversarialExamples


def compute_curves(run: Run, examples: Mapping[str, AdversarialExamples | None]) -> Iterator[dict[str, Any]]:
    """Yield the rows of `raypipe.evaluation.results.schemas.CURVES`, by norm and model.

    The first row of a model is its worst case; one row follows for each attack that minimizes the norm. All curves of a
    norm have the same radii, so that they can be drawn over each other.
    """
    for norm in STORED_NORMS:
        series = [
            each
            for subject in run.subjects
            if (examples_of_subject := examples[subject.id]) is not None
            for each in _list_curves(subject, examples_of_subject, norm)
        ]
        if not series:
            return
        sizes = [each.examples.smallest(norm) for each in series]
        grid = build_eps_grid(np.concatenate(sizes), norm)
        for (subject, attack, curve_examples), smallest in zip(series, sizes, strict=True):
            accuracy = compute_robust_accuracy(smallest, grid, group_tiles(curve_examples.clean.groups))
            by_radius = [each.columns("robust_accuracy") for each in accuracy]
            marks = compute_quartiles(smallest)
            yield {
                **subject.columns(),
                "attack": attack,
                "norm": norm,
                "eps": grid.tolist(),
                **{column: [row[column] for row in by_radius] for column in by_radius[0]},
                "quartiles": build_quartile_columns(smallest),
                "fooled": marks.fooled,
                "attacked": marks.tiles,
            }


def _list_curves(subject: SubjectRecord, examples: AdversarialExamples, norm: str) -> Iterator[_Curve]:
    yield _Curve(subject, None, examples)
    minimal = [_minimizes(norm, pairing) and pairing.protocol in ITSELF for pairing in examples.pairings]
    names = [
        pairing.attack if is_minimal else None for pairing, is_minimal in zip(examples.pairings, minimal, strict=True)
    ]
    for attack in dict.fromkeys(name for name in names if name):
        yield _Curve(subject, attack, examples.select([name == attack for name in names]))


def _minimizes(norm: str, pairing: PairingRecord) -> bool:
    threat = pairing.threat
    return threat is not None and threat.norm == norm and threat.eps is None
