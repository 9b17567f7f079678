"""Handmade evidence for sanity checks, and one check of it."""

import numpy as np

from raypipe.evaluation.checks.evidence import Evidence, PlantedSearch, Probe
from raypipe.evaluation.checks.rules import Check, run_checks
from raypipe.evaluation.results.artifacts import Predictions

TILES = 20


def fooled(*positions: int, tiles: int = TILES) -> np.ndarray:
    array = np.zeros(tiles, dtype=bool)
    array[list(positions)] = True
    return array


def first(count: int, tiles: int = TILES) -> np.ndarray:
    return np.arange(tiles) < count


def probed(tiles: int = TILES, **changes: object) -> Probe:
    sound = {
        "log_odds_gradient": np.ones(tiles),
        "cross_entropy_gradient": np.full(tiles, 1e-30),
        "zero_share": np.zeros(tiles),
        "finite": np.ones(tiles, dtype=bool),
        "spread": np.full(tiles, 10.0),
        "repeat_difference": np.zeros(tiles),
        "batch_difference": np.full(tiles, 1e-6),
        "forwards": np.full(tiles, 3),
        "backwards": np.full(tiles, 2),
    }
    for name, value in changes.items():
        sound[name][0] = value
    return Probe(**sound)


def planted(found: int, lucky: int, inapplicable: int = 0, tiles: int = 20) -> PlantedSearch:
    reasons = np.array(["it is random"] * inapplicable + [""] * (tiles - inapplicable))
    order = first(tiles, tiles)[::-1] & (reasons == "")
    rank = np.cumsum(order)
    return PlantedSearch(
        found=order & (rank <= found),
        random_found=order & (rank <= lucky),
        reasons=reasons,
        random_points=100,
        forwards=np.ones(tiles, dtype=np.int64),
        backwards=np.ones(tiles, dtype=np.int64),
    )


def run_check(name: str, **known: object) -> Check:
    (check,) = [check for check in run_checks(Evidence(**known)) if check.name == name]
    return check


def clean(said: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> Predictions:
    ids = np.array([f"{place:03}" for place in range(len(labels))])
    return Predictions(ids, ids if groups is None else groups, labels, 4 * np.eye(3, dtype=np.float32)[said])
