"""Checks of the predictions of clean tiles, and of the accuracy where any attack must succeed."""

import numpy as np

from raypipe.base.predictions import are_probabilities
from raypipe.evaluation.checks.evidence import Evidence
from raypipe.evaluation.checks.findings import Finding, judge, report_missing, require_aligned
from raypipe.evaluation.statistics.intervals import estimate_mean, group_tiles
from raypipe.evaluation.statistics.metrics import compute_chance_accuracy


def large_eps_fools_every_tile(evidence: Evidence) -> Finding:
    """Judge if an attack that can turn all tiles into one image fools the model on every tile.

    A model that predicts one class for any input is right on the tiles of that class, and no attack changes this. Only
    these tiles may stay correct.
    """
    if evidence.unbounded is None:
        return report_missing("a large eps")
    correct = ~evidence.unbounded
    require_aligned(correct, correct, "a large eps")
    figure = f"{correct.sum()} of {len(correct)} tiles are still classified correctly"
    answers = np.unique(evidence.clean.predicted) if evidence.clean is not None else np.zeros(0)
    if len(answers) == 1 and evidence.labels is not None:
        require_aligned(correct, evidence.labels, "a large eps and classes")
        broken = int((correct & (evidence.labels != answers[0])).sum())
        return judge(
            broken, 0, len(correct), f"{figure}; the model predicts a single class, whose tiles may stay correct"
        )
    return judge(int(correct.sum()), 0, len(correct), f"{figure}, 0 allowed")


def clean_accuracy_above_chance(evidence: Evidence) -> Finding:
    """Compare the accuracy on all clean test tiles with that of always predicting their most common class.

    The lower bound of the 95 % interval over groups must be above it. On very few groups even a perfect model cannot
    reach that; a model above chance then gets no verdict.
    """
    if evidence.clean is None:
        return report_missing("predictions of clean tiles")
    clean, groups = evidence.clean, group_tiles(evidence.clean.groups)
    chance = compute_chance_accuracy(clean.labels)
    value, low, high = estimate_mean(clean.correct, groups)
    interval = "no interval" if np.isnan(low) else f"{100 * low:.1f} - {100 * high:.1f} %"
    figure = (
        f"{100 * value:.1f} % ({interval}) of {len(clean.labels)} test tiles of {groups.count} groups; always "
        f"predicting the most frequent class: {100 * chance:.1f} %"
    )
    perfect = estimate_mean(np.ones(len(clean.labels), dtype=bool), groups)
    if value > chance and not perfect.low > chance:
        return Finding("not applicable", f"{figure}; on so few groups not even a perfect model is significantly better")
    return Finding("pass" if low > chance else "fail", figure)


def outputs_are_logits(evidence: Evidence) -> Finding:
    """Judge if the model's outputs for clean tiles are probabilities, on which attacks lose their way."""
    if evidence.clean is None:
        return report_missing("predictions of clean tiles")
    tiles = len(evidence.clean.labels)
    broken = are_probabilities(evidence.clean.logits)
    figure = f"the outputs of {tiles if broken else 0} of {tiles} tiles are in [0, 1] and sum to 1"
    return Finding("fail" if broken else "pass", figure)
