"""Checks of clean accuracy, of the outputs, and of an attack without a bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.evaluation.checks.evidence import Evidence
from raypipe.evaluation.checks.rules import ABOVE_CHANCE, CHECKS, run_checks
from raypipe.evaluation.results.artifacts import Predictions
from tests.evaluation.checks.evidence import TILES, clean, first, run_check


@pytest.mark.parametrize("classes", [2, 3])
@given(standing=st.integers(0, TILES))
def test_a_large_eps_fools_every_tile(classes: int, standing: int) -> None:
    labels = np.arange(TILES) % classes
    known = {"labels": labels, "clean": clean(labels, labels)}
    check = run_check("a large eps fools every tile", unbounded=first(TILES - standing), **known)
    assert check.verdict == ("fail" if standing else "pass")
    assert check.figure == f"{standing} of 20 tiles are still classified correctly, 0 allowed"


def test_of_a_model_that_answers_one_class_its_tiles_may_stand() -> None:
    labels = np.arange(TILES) % 2
    known = {"labels": labels, "clean": clean(np.zeros(TILES, dtype=int), labels)}
    name = "a large eps fools every tile"
    sound = run_check(name, unbounded=labels == 1, **known)
    assert sound.verdict == "pass"
    assert sound.figure == (
        "10 of 20 tiles are still classified correctly; the model predicts a single class, whose tiles may stay correct"
    )
    assert run_check(name, unbounded=labels == 0, **known).verdict == "fail"
    assert run_check(name, unbounded=first(TILES - 1)).verdict == "fail", "its answers are not known"
    assert run_check(name).verdict == "not applicable"


def test_a_model_at_chance_fails() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    guessed = run_check(ABOVE_CHANCE, clean=clean(rng.permutation(labels), labels))
    assert guessed.verdict == "fail"
    assert run_check(ABOVE_CHANCE, clean=clean(np.zeros(60, dtype=int), labels)).verdict == "fail", "one class"
    learned = run_check(ABOVE_CHANCE, clean=clean(labels, labels))
    assert learned.verdict == "pass"
    assert "of 60 test tiles of 60 groups; always predicting the most frequent class: 33.3 %" in learned.figure
    assert run_check(ABOVE_CHANCE).verdict == "not applicable"


def test_probabilities_fail_a_check_that_logits_do_not_need() -> None:
    labels = np.arange(TILES) % 3
    logits = clean(labels, labels)
    assert [check.name for check in run_checks(Evidence(clean=logits))] == [rule.name for rule in CHECKS]
    shares = np.exp(logits.logits) / np.exp(logits.logits).sum(1, keepdims=True)
    probabilities = Predictions(logits.ids, logits.groups, labels, shares)
    *_, last = run_checks(Evidence(clean=probabilities))
    assert (last.name, last.verdict) == ("the outputs are logits", "fail")


def test_chance_is_that_of_the_most_frequent_class() -> None:
    labels = np.repeat([0, 1], [54, 6])
    said = np.where(np.arange(60) < 3, 1, 0)
    assert run_check(ABOVE_CHANCE, clean=clean(said, labels)).verdict == "fail", "85 % of tiles of which 90 % are alike"


def test_siblings_do_not_lift_a_model_above_chance() -> None:
    """Use a model correct on both siblings of 20 of 30 source tiles: the share of 40 of 60, but less certain."""
    labels = np.arange(60) // 2 % 2
    said = np.where(np.arange(60) < 40, labels, 1 - labels)
    alone = run_check(ABOVE_CHANCE, clean=clean(said, labels))
    siblings = run_check(ABOVE_CHANCE, clean=clean(said, labels, np.array([str(place // 20) for place in range(60)])))
    assert alone.verdict == "pass"
    assert siblings.verdict == "not applicable", "three groups cannot show that even a perfect model is above one half"
    none = run_check(ABOVE_CHANCE, clean=clean(1 - labels, labels, np.array(["a"] * 60)))
    assert none.verdict == "fail", "worse than chance is not above it, however few the groups"
