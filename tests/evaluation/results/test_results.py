"""Results of a run that can be computed manually; see `handmade`."""

from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pyarrow as pa
import pytest

from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.result import RunResult, load_result, serialize_result
from raypipe.evaluation.results.run import Run
from raypipe.evaluation.statistics.permutation import adjust_p_values
from raypipe.report.layout import describe_threat
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, HARDENED, attack_only, hand_run


@pytest.fixture
def run(tmp_path: Path) -> tuple[Store, Run]:
    store = Store.open(str(tmp_path))
    return store, hand_run(store)


def record(result: RunResult, subject: str, protocol: str, **wanted: Any) -> dict[str, Any]:
    (row,) = (
        row
        for row in result.records.to_pylist()
        if (row["subject"], row["protocol"]) == (subject, protocol)
        if all(row[name] == value for name, value in wanted.items())
    )
    return row


def test_each_protocol_has_its_own_figure(run: tuple[Store, Run]) -> None:
    result = compute_result(*run)
    assert record(result, CLEAN, "clean")["accuracy"] == 7 / 8
    assert record(result, CLEAN, "white-box")["accuracy"] == 0
    assert record(result, HARDENED, "static")["accuracy"] == 7 / 8
    adaptive = record(result, HARDENED, "adaptive")
    assert adaptive["accuracy"] == 4 / 8
    assert (adaptive["forwards"], adaptive["backwards"], adaptive["seconds"]) == (24, 16, 4.0)
    assert (adaptive["norm"], adaptive["eps"], adaptive["knowledge"]) == ("l2", None, "white-box")
    assert record(result, HARDENED, "static")["knowledge"] == "transfer"
    assert adaptive["linf"] == {"lower": 2 / 255, "median": 8 / 255, "upper": None}


def test_the_worst_case_counts_a_tile_only_if_nothing_fools_the_model(run: tuple[Store, Run]) -> None:
    result = compute_result(*run)
    unbounded = record(result, HARDENED, "worst case", eps=None)
    assert unbounded["accuracy"] == 3 / 8  # static fools it on b2, adaptive on a1, a2, b1 and c1
    within = record(result, HARDENED, "worst case", eps=2 / 255)
    assert within["accuracy"] == 5 / 8  # fooled on b2 by a static tile, on a1 and a2 by adaptive ones
    assert record(result, CLEAN, "worst case", eps=2 / 255)["accuracy"] == 0


def test_clean_accuracy_beside_attacked_is_of_the_attacked_tiles(run: tuple[Store, Run]) -> None:
    """Leave out d2, the only clean tile that the undefended model gets wrong: its clean accuracy is then 100 %."""
    store, made = run
    attack_only(store, made, ["a1", "b1", "c1", "d1"])
    result = compute_result(store, made)
    whole, attacked = record(result, CLEAN, "clean"), record(result, CLEAN, "clean on attacked tiles")
    assert (whole["accuracy"], whole["tiles"], whole["support"]) == (7 / 8, 8, [4, 4])
    assert (attacked["accuracy"], attacked["tiles"], attacked["groups"], attacked["support"]) == (1, 4, 4, [2, 2])
    under_attack = [row for row in result.records.to_pylist() if row["protocol"] != "clean"]
    assert {row["tiles"] for row in under_attack} == {4}
    assert record(result, HARDENED, "static")["accuracy"] == 1


def test_a_balanced_choice_is_weighted_back_to_the_test_set(run: tuple[Store, Run]) -> None:
    """Attack three cancers and one benign tile of a balanced test set: after reweighting each class counts one half."""
    store, made = run
    attack_only(store, made, ["a1", "b1", "b2", "c2"])
    result = compute_result(store, made)
    adaptive = record(result, HARDENED, "adaptive")  # it fools the model on a1 and b1, and not on b2 and c2
    assert (adaptive["accuracy"], adaptive["support"]) == (2 / 4, [3, 1])
    assert adaptive["accuracy_reweighted"] == pytest.approx((1 / 3 + 1) / 2)
    assert adaptive["accuracy_reweighted_low"] <= 2 / 3 <= adaptive["accuracy_reweighted_high"]
    assert record(result, HARDENED, "clean")["accuracy_reweighted"] is None, "it is the test set"


def test_where_a_class_is_not_attacked_nothing_is_said_of_it(run: tuple[Store, Run]) -> None:
    store, made = run
    attack_only(store, made, ["a1", "b1", "b2"])
    rows = [row for row in compute_result(store, made).records.to_pylist() if row["protocol"] != "clean"]
    for row in rows:
        assert row["recall"][1] is None
        assert row["accuracy_reweighted"] is None
    assert {row["precision"][1] for row in rows if row["precision"]} == {None}


def test_results_of_an_older_version_are_computed_again(run: tuple[Store, Run]) -> None:
    result = compute_result(*run)
    path = "runs/hand/records.parquet"
    run[0].write_table(path, result.records.drop_columns(["stored_eps", "accuracy_reweighted"]))
    assert load_result(run[0], "hand").records.equals(result.records)


def test_the_radius_that_pixels_allow_stands_beside_the_requested_one(run: tuple[Store, Run]) -> None:
    store, made = run
    result = compute_result(store, made.model_copy(update={"radii": {"linf": (2.5 / 255,), "l2": (0.01,)}}))
    within = {row["norm"]: row for row in result.records.to_pylist() if row["protocol"] == "worst case"}
    assert (within["linf"]["eps"], within["linf"]["stored_eps"]) == (2.5 / 255, 2 / 255)
    assert (within["l2"]["eps"], within["l2"]["stored_eps"]) == (0.01, 0.01)
    assert within["any"]["stored_eps"] is None
    assert record(result, HARDENED, "worst case", norm="linf")["accuracy"] == 5 / 8, "as within 2/255"
    assert [describe_threat(within[norm]) for norm in ("linf", "l2")] == ["linf <= 2.5/255, stored 2/255", "l2 <= 0.01"]


def test_each_cell_tells_what_it_cost(run: tuple[Store, Run]) -> None:
    static, adaptive, tiles = compute_result(*run).costs.to_pylist()
    assert (adaptive["stage"], adaptive["cell"], adaptive["model"]) == ("attack", "net/cw/at/cw/test", "net")
    assert [adaptive[name] for name in ("forwards", "backwards", "seconds", "device")] == [24, 16, 4.0, "cpu"]
    assert static["seconds"] == 4.0
    assert tiles["seconds"] is None, "its artifact does not tell"


def test_cancer_called_benign_is_told_apart(run: tuple[Store, Run]) -> None:
    result = compute_result(*run)
    clean = record(result, CLEAN, "clean")
    assert (clean["cancer_called_benign"], clean["benign_called_cancer"]) == (0, 1 / 4)
    adaptive = record(result, HARDENED, "adaptive")
    assert (adaptive["cancer_called_benign"], adaptive["benign_called_cancer"]) == (3 / 4, 1 / 4)
    worst = record(result, HARDENED, "worst case", eps=None)
    assert (worst["cancer_called_benign"], worst["benign_called_cancer"]) == (1, 1 / 4)


def test_intervals_are_over_source_tiles(run: tuple[Store, Run]) -> None:
    row = record(compute_result(*run), HARDENED, "adaptive")
    assert (row["tiles"], row["groups"]) == (8, 4)
    assert row["accuracy_low"] < 1 / 4  # a and b have one correct tile of four, c and d three of four
    assert row["accuracy_high"] > 3 / 4


def test_differences_are_paired(run: tuple[Store, Run]) -> None:
    table = compute_result(*run).differences.to_pylist()
    rows = {(row["measure"], row["eps"]): row for row in table}
    flattery = rows["static less adaptive", None]
    assert flattery["difference"] == 3 / 8
    assert (flattery["only_first"], flattery["only_second"]) == (4, 1)
    assert flattery["p_value"] == 2 / 2**2, "only groups a and c differ, by 2 and 1 tiles, the same way"
    assert [row["p_adjusted"] for row in table] == adjust_p_values([row["p_value"] for row in table])
    gained = rows["attacked", None]
    assert (gained["against"], gained["difference"]) == (CLEAN, 4 / 8)
    assert rows["clean", None]["difference"] == 1 / 8


def test_curves_fall_from_clean_accuracy_to_their_floor(run: tuple[Store, Run]) -> None:
    curves = {(r["subject"], r["attack"], r["norm"]): r for r in compute_result(*run).curves.to_pylist()}
    worst = curves[HARDENED, None, "linf"]
    assert [round(255 * eps) for eps in worst["eps"]] == list(range(9))
    assert worst["robust_accuracy"] == [8 / 8, 7 / 8, 5 / 8, 5 / 8, 4 / 8, 4 / 8, 4 / 8, 4 / 8, 3 / 8]
    assert curves[HARDENED, "cw", "l2"]["robust_accuracy"][0] == 1
    assert (HARDENED, "cw", "linf") not in curves  # the attack does not minimize this norm


def test_what_was_computed_can_be_read_and_computed_again(run: tuple[Store, Run]) -> None:
    result = compute_result(*run)
    again = load_result(run[0], "hand")
    assert again.records.equals(result.records)
    assert again.differences.equals(result.differences)
    assert compute_result(*run).curves.equals(result.curves)
    assert '"static less adaptive"' in serialize_result(result)


def test_files_of_a_slow_store_are_read_at_the_same_time(
    run: tuple[Store, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_table, both = Store.read_table, Barrier(2)

    def slow(*asked: Any) -> pa.Table:
        try:
            both.wait(timeout=20)
        except BrokenBarrierError:
            pytest.fail("a file was read alone")
        return read_table(*asked)

    monkeypatch.setattr(Store, "is_local", False)
    monkeypatch.setattr(Store, "read_table", slow)
    store, described = run
    two = [pairing for pairing in described.pairings if pairing.protocol == "clean"]
    Artifacts(store).read_ahead(two)


def test_a_missing_artifact_is_named(run: tuple[Store, Run]) -> None:
    store, made = run
    store.remove(store.artifact("predictions", made.pairings[0].predictions))
    with pytest.raises(FileNotFoundError, match="run the experiment again"):
        compute_result(store, made)


def test_sets_of_other_tiles_are_refused(run: tuple[Store, Run]) -> None:
    store, made = run
    path = f"{store.artifact('predictions', made.pairings[-1].predictions)}/part.parquet"
    store.write_table(path, store.read_table(path).slice(1))
    with pytest.raises(ValueError, match="run on different tiles"):
        compute_result(store, made)


def test_a_tile_that_was_predicted_twice_is_refused(run: tuple[Store, Run]) -> None:
    store, made = run
    path = f"{store.artifact('predictions', made.pairings[0].predictions)}/part.parquet"
    table = store.read_table(path)
    store.write_table(path, pa.concat_tables([table, table.slice(0, 1)]))
    with pytest.raises(ValueError, match="more than once"):
        compute_result(store, made)


def test_a_tile_without_a_group_is_a_group_of_its_own(run: tuple[Store, Run]) -> None:
    store, made = run
    path = f"{store.artifact('predictions', made.pairings[0].predictions)}/part.parquet"
    table = store.read_table(path)
    lost = table.set_column(1, "group_id", pa.array([None] * 8, pa.string()))
    store.write_table(path, lost)
    assert record(compute_result(store, made), CLEAN, "clean")["groups"] == 8
