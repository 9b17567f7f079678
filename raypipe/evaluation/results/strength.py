"""Comparability of figures: they need the same data set, the same threat model and the same attacks."""

import hashlib
import json

from raypipe.evaluation.protocols import ITSELF, Protocol
from raypipe.evaluation.results.outcomes import WORST_CASE, Measure
from raypipe.evaluation.results.run import Run

UNNAMED_SOURCES = ("", "folder", "parquet")
"""Kinds of source that do not name their data set. Only the tiles themselves distinguish two such data sets."""


def attack_strength(subject: str, run: Run) -> str:
    """Return a digest of all attacks on a model; equal attacks with equal settings give equal digests.

    Attacks on the model itself count with all their settings. The number of other models whose tiles it was tested on
    counts too. Static tiles do not count: only hardened models have them, and these models face all that undefended
    ones face.

    Parameters
    ----------
    subject
        Id of the model.
    run
        Record of the run.
    """
    pairings = run.find_pairings(subject)
    attacks = sorted(
        {json.dumps(pairing.settings, sort_keys=True) for pairing in pairings if pairing.protocol in ITSELF}
    )
    sources = {pairing.source for pairing in pairings if pairing.protocol == Protocol.TRANSFER}
    return hashlib.sha256(json.dumps([attacks, len(sources)]).encode()).hexdigest()[:8]


def have_same_data(run: Run, other: Run) -> bool:
    """Return True if two runs tested models on the same data set, even if on different tiles of it."""
    if (run.data, run.labels) != (other.data, other.labels):
        return False
    return run.data not in UNNAMED_SOURCES or not _find_clean_tiles(run).isdisjoint(_find_clean_tiles(other))


def _find_clean_tiles(run: Run) -> set[str]:
    return {pairing.tiles for pairing in run.pairings if pairing.protocol == Protocol.CLEAN}


def match_subjects(run: Run, other: Run) -> dict[str, str]:
    """Return the ids of a run's models, each with the id of its counterpart in another run.

    Two models are counterparts if they have the same id. The models of two runs of one model each are counterparts
    whatever their ids: evaluations of single models name them freely.
    """
    ids, others = ([subject.id for subject in each.subjects] for each in (run, other))
    if len(ids) == len(others) == 1:
        return {ids[0]: others[0]}
    return {name: name for name in ids if name in others}


def is_comparable(measure: Measure, subject: str, run: Run, counterpart: str, other: Run) -> bool:
    """Return True if the figures of two models in two runs are of the same data set and the same attacks.

    Parameters
    ----------
    measure
        The figure, given by the tiles that the model is tested on.
    subject, counterpart
        Ids of the models in `run` and in `other`.
    run, other
        Records of the two runs.
    """
    if not have_same_data(run, other):
        return False
    if measure.name == WORST_CASE:
        return attack_strength(subject, run) == attack_strength(counterpart, other)
    return _find_settings(measure, subject, run) == _find_settings(measure, counterpart, other)


def _find_settings(measure: Measure, subject: str, run: Run) -> set[str]:
    protocols = ITSELF if measure.name == "attacked" else (measure.name,)
    return {
        json.dumps([pairing.settings, pairing.source if measure.name == "transfer" else None], sort_keys=True)
        for pairing in run.pairings
        if (pairing.subject, pairing.attack) == (subject, measure.attack) and pairing.protocol in protocols
    }
