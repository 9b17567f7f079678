"""The worst case: every stored adversarial tile counts in every ball that it fits, for whatever purpose it was made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from raypipe.base.threat import ThreatModel
from raypipe.evaluation.protocols import CheckAttack, Protocol, Role
from raypipe.evaluation.results.artifacts import AdversarialTiles, Artifacts, Predictions
from raypipe.evaluation.results.certified import collect_proof
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.outcomes import WORST_CASE, Measure, collect_examples, compute_outcomes
from raypipe.evaluation.results.run import PairingRecord, Run
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, HARDENED, hand_run, perturb, predict
from tests.evaluation.laws import require_worst_cases

TILES, STEPS = 6, 12
RADII = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
PROTOCOLS = (Protocol.WHITE_BOX, Protocol.STATIC, Protocol.TRANSFER)
ROLES = tuple(Role)


@dataclass(frozen=True)
class StoredSet:
    """A set of adversarial tiles: its purpose, the tiles that fool the model, and their largest changes."""

    role: Role
    protocol: Protocol
    fooled: list[bool]
    steps: list[int]


SETS = st.lists(
    st.builds(
        StoredSet,
        st.sampled_from(ROLES),
        st.sampled_from(PROTOCOLS),
        st.lists(st.booleans(), min_size=TILES, max_size=TILES),
        st.lists(st.integers(0, STEPS), min_size=TILES, max_size=TILES),
    ),
    min_size=1,
    max_size=6,
)
RIGHT = st.lists(st.booleans(), min_size=TILES, max_size=TILES)


class DrawnArtifacts(Artifacts):
    """Artifacts that are drawn instead of read; a set's key is its position."""

    def __init__(self, right: list[bool], sets: list[StoredSet]) -> None:
        self.right, self.sets = right, sets

    def read_predictions(self, pairing: PairingRecord) -> Predictions:
        right = self.right if pairing.protocol == "clean" else [not f for f in self.sets[int(pairing.tiles)].fooled]
        ids = np.array([str(place) for place in range(TILES)])
        labels = np.zeros(TILES, dtype=np.int64)
        return Predictions(ids, ids, labels, np.eye(2, dtype=np.float32)[[int(not each) for each in right]])

    def read_adversarials(self, pairing: PairingRecord) -> AdversarialTiles:
        sizes = np.array(self.sets[int(pairing.tiles)].steps) / 255
        none: NDArray[Any] = np.zeros(TILES)
        ids = np.array([str(place) for place in range(TILES)])
        by_norm = {"l0": np.ones(TILES), "l2": sizes, "linf": sizes}
        return AdversarialTiles(ids, none, none, none, by_norm, none, none, none, none, none)


def drawn_run(store_run: Run, sets: list[StoredSet]) -> Run:
    clean = PairingRecord(subject=CLEAN, protocol=Protocol.CLEAN, role=Role.GRID, tiles="clean", predictions="clean")
    threat = ThreatModel("linf", None)
    attacked = [
        PairingRecord(
            subject=CLEAN,
            protocol=each.protocol,
            role=each.role,
            attack=f"{each.role} {place}",
            threat=threat,
            tiles=str(place),
            predictions=str(place),
        )
        for place, each in enumerate(sets)
    ]
    return store_run.model_copy(update={"pairings": (clean, *attacked), "radii": {"linf": RADII}})


@pytest.fixture(scope="module")
def run_of_one(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = hand_run(Store.open(str(tmp_path_factory.mktemp("store"))))
    return run.model_copy(update={"subjects": run.subjects[:1]})


@settings(deadline=None)
@given(RIGHT, SETS)
def test_every_stored_tile_counts_in_every_ball_that_it_fits(
    run_of_one: Run, right: list[bool], sets: list[StoredSet]
) -> None:
    run, artifacts = drawn_run(run_of_one, sets), DrawnArtifacts(right, sets)
    (subject,) = run.subjects
    examples = collect_examples(subject, run, artifacts)
    assert examples is not None
    outcomes = compute_outcomes(subject, run, artifacts, examples)
    smallest = 255 * examples.smallest("linf")
    before = np.array(right)
    for eps in (*RADII, None):
        steps = STEPS if eps is None else round(255 * eps)
        measure = Measure(WORST_CASE) if eps is None else Measure(WORST_CASE, None, "linf", eps)
        stands = outcomes[measure].correct
        for place in range(TILES):
            fooled = any(each.fooled[place] and each.steps[place] <= steps for each in sets)
            assert stands[place] == (right[place] and not fooled)
        assert np.array_equal(stands, smallest > steps + 1e-6), "curves and certificates count the same tiles"
        for each in sets:
            inside = np.array(each.steps) <= steps
            assert stands.sum() <= (~(np.array(each.fooled) & inside)).sum()
        assert not (stands & ~before).any(), "it never grows with eps"
        before = stands


@settings(deadline=None)
@given(RIGHT, SETS)
def test_a_measure_is_of_one_attack_and_never_of_a_check_s_variation(
    run_of_one: Run, right: list[bool], sets: list[StoredSet]
) -> None:
    run, artifacts = drawn_run(run_of_one, sets), DrawnArtifacts(right, sets)
    (subject,) = run.subjects
    outcomes = compute_outcomes(subject, run, artifacts, collect_examples(subject, run, artifacts))
    named = {measure.attack for measure in outcomes if measure.attack}
    assert named == {f"{each.role} {place}" for place, each in enumerate(sets) if each.role != "check"}


@pytest.mark.parametrize("role", ROLES)
def test_a_tile_counts_whatever_it_was_made_for(tmp_path: Path, role: Role) -> None:
    """Start with c2, d1 and d2 correct, and within 2/255 also b1 and c1, until a further set fools the model on c2."""
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    said = [0, 0, 0, 0, 1, 0, 1, 1]
    tiles = perturb(store, "more", clean=[0, 0, 0, 0, 1, 1, 1, 1], said=said, steps=[2] * 8)
    more = PairingRecord(
        subject=HARDENED,
        protocol=Protocol.ADAPTIVE,
        role=role,
        attack=CheckAttack.BLACK_BOX,
        method="square",
        source=HARDENED,
        threat=ThreatModel("linf", 2 / 255, "score-based"),
        tiles=tiles,
        predictions=predict(store, "more said", said),
    )
    result = compute_result(store, run.model_copy(update={"pairings": (*run.pairings, more)}))
    rows = result.records.to_pylist()
    require_worst_cases(rows)
    worst = {
        row["norm"]: row["accuracy"] for row in rows if row["subject"] == HARDENED if row["protocol"] == "worst case"
    }
    assert worst == {"any": 2 / 8, "linf": 4 / 8}
    (curve,) = (
        row["robust_accuracy"] for row in result.curves.to_pylist()
        if (row["subject"], row["attack"], row["norm"]) == (HARDENED, None, "linf")
    )  # fmt: skip
    assert (curve[2], curve[-1]) == (4 / 8, 2 / 8)


def test_a_certificate_is_held_against_the_tiles_of_checks_too(run_of_one: Run) -> None:
    class Certificates(DrawnArtifacts):
        def read_certificates(self, key: str) -> Any:

            assert key == "proof"
            ids = [str(place) for place in range(TILES)]
            columns = {"sample_id": ids, "norm": ["linf"] * TILES, "prediction": [0] * TILES, "label": [0] * TILES}
            return pa.table({**columns, "radius": [3 / 255] * TILES})

    blind = StoredSet(Role.GRID, Protocol.WHITE_BOX, [False] * TILES, [2] * TILES)
    check = StoredSet(Role.CHECK, Protocol.WHITE_BOX, [True] + [False] * (TILES - 1), [2] * TILES)
    run = drawn_run(run_of_one, [blind, check]).model_copy(update={"certificates": {CLEAN: "proof"}})
    artifacts = Certificates([True] * TILES, [blind, check])
    (subject,) = run.subjects
    proof = collect_proof(subject, run, artifacts, collect_examples(subject, run, artifacts))
    assert proof is not None
    assert (proof.smallest <= proof.radius).tolist() == [True] + [False] * (TILES - 1)
