"""Headway within shards, and the time left that follows from it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from raypipe.plan.cells import Cell, EvaluateSpec
from raypipe.progress import shards, stage
from raypipe.progress.pace import Pace, read_forecast, write_forecast
from raypipe.progress.shards import FOLDER, ShardState, follow_headway, name_shard, write_headway
from raypipe.progress.stage import stage_progress
from raypipe.progress.state import RunState, StageState
from raypipe.progress.tree import run_tree
from raypipe.storage.store import Store

NAME = name_shard("abcdef01", "artifacts/adversarials/abcdef01/part-3.parquet")
PGD, OTHER = ("pgd", "resnet18"), ("pgd", "googlenet")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(shards, "LOCAL_SECONDS", 0.0)
    return Store.open(str(tmp_path))


def attack_on(model: str) -> Cell:
    trained = Cell("train", model, EvaluateSpec(split="train" if model == "resnet18" else "test"))
    return Cell("attack", f"{model}/pgd/test", EvaluateSpec(split="test"), {"model": trained})


def drawn(state: RunState) -> str:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(run_tree(state))
    return console.export_text()


def test_a_worker_writes_down_its_tiles_until_the_shard_is_done(store: Store) -> None:
    with write_headway(store, NAME, "resnet18/pgd/test", tiles=64) as note:
        note(12.5)
        note(3)
        written = ShardState.model_validate_json(store.read_bytes(f"{FOLDER}/{NAME}"))
        assert (written.cell, written.tiles, written.of) == ("resnet18/pgd/test", 12.5, 64), "tiles never decrease"
    assert store.list_files(FOLDER) == []


def test_short_work_writes_nothing(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    with write_headway(store, NAME, "resnet18/pgd/test", tiles=64) as note:
        note(12)
        assert store.list_files(FOLDER) == []


def test_the_driver_sees_its_own_shards_and_forgets_those_of_a_killed_run(store: Store) -> None:
    foreign = ShardState(cell="other/pgd/test", tiles=9, of=9)
    for name in (NAME, "ffffffff-part-0.parquet.json"):
        store.write_bytes(f"{FOLDER}/{name}", foreign.model_dump_json().encode())
    seen: list[dict[str, ShardState]] = []
    with follow_headway(store, [NAME], seen.append), write_headway(store, NAME, "resnet18/pgd/test", 64) as note:
        while not any(seen):
            note(12)
    assert all(state.cell == "resnet18/pgd/test" for states in seen for state in states.values())
    assert seen[-1] == {}


def test_the_tree_says_what_happens_before_the_first_shard_is_done() -> None:
    state = RunState(run="demo", stages=[StageState(name="attack")])
    cell = attack_on("resnet18")
    with stage_progress(Console(file=io.StringIO()), "attack", 640, "tiles", run=state) as progress:
        assert "starting workers, 0 s" in drawn(state)
        progress.show_shards({NAME: ShardState(cell=cell.name, tiles=12, of=64, seconds=20)}, {cell.name: cell})
        text = drawn(state)
        assert "starting workers" not in text
        assert "12 of 640 tiles" in text
        assert "resnet18/pgd/test  12 of 64 tiles" in text
        progress.show_shards({}, {cell.name: cell})
    state.activity = "drawing the report"
    assert "drawing the report" in drawn(state)


def test_the_number_of_tiles_never_falls_while_a_result_is_on_its_way() -> None:
    """A worker removes the file of a finished shard before the driver gets the result."""
    state, cell = RunState(run="demo", stages=[StageState(name="attack")]), attack_on("resnet18")
    shards = {f"shard-{tiles}": ShardState(cell=cell.name, tiles=tiles, of=64, seconds=20) for tiles in (60, 12)}
    later = {"shard-12": ShardState(cell=cell.name, tiles=20, of=64, seconds=30)}
    seen = []
    with stage_progress(Console(file=io.StringIO()), "attack", 640, "tiles", run=state) as progress:

        def note() -> None:
            seen.append(state.stages[0].units)

        progress.show_shards(shards, {cell.name: cell})
        note()
        progress.show_shards(later, {cell.name: cell})
        note()
        progress.leave_shard("shard-60")
        progress.advance(64, cell)
        note()
        progress.show_shards(shards | later, {cell.name: cell})  # a look that began before the file was removed
        note()
        progress.show_shards({}, {cell.name: cell})
        note()
    assert seen == [60 + 12, 60 + 20, 64 + 20, 64 + 20, 64]


def test_a_log_has_a_line_before_the_first_shard_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "LINE_EVERY_SECONDS", 0.0)
    console, cell = Console(file=io.StringIO(), width=160), attack_on("resnet18")
    with stage_progress(console, "attack", 640, "tiles") as progress:
        progress.show_shards({NAME: ShardState(cell=cell.name, tiles=12, of=64, seconds=20)}, {cell.name: cell})
    assert "attack  12 of 640 tiles, " in console.file.getvalue()  # type: ignore[attr-defined]


def test_nothing_is_said_of_a_quiet_stage() -> None:
    console = Console(file=io.StringIO())
    with stage_progress(console, "attack", 1, "tiles", detail="quiet") as progress:
        progress.advance(1, attack_on("resnet18"), line="a line")
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_each_attack_and_model_has_its_own_time_per_tile() -> None:
    pace = Pace()
    pace.left.update({PGD: 10, OTHER: 10, ("deepfool", "resnet18"): 10})
    assert pace.seconds_left() is None, "nothing is known"
    pace.learn(PGD, tiles=10, seconds=20)
    assert pace.seconds_left() == 10 * 2 * 3, "the time of the only known work"
    pace.learn(("deepfool", "resnet18"), tiles=10, seconds=5)
    assert pace.seconds_left() == 10 * (2 + 2 + 0.5), "the time of an attack on one model serves for another"
    pace.forecast[OTHER] = 7.0
    assert pace.seconds_left([(PGD, ShardState(cell="", tiles=4, of=10))]) == 6 * 2 + 10 * 7 + 10 * 0.5
    assert pace.seconds_left(workers=2) == (10 * 2 + 10 * 7 + 10 * 0.5) / 2


def test_a_shard_that_takes_longer_than_the_known_time_corrects_it() -> None:
    pace = Pace()
    pace.left[PGD] = 180
    pace.learn(("pgd at other radii", "resnet18"), tiles=1000, seconds=100)  # 18 s for all tiles

    def left(tiles: float, seconds: float, workers: int = 1) -> float:
        found = pace.seconds_left([(PGD, ShardState(cell="", tiles=tiles, of=180, seconds=seconds))], workers)
        assert found is not None
        return found

    assert left(tiles=30, seconds=10) == pytest.approx(150 * 0.1), "it may still keep to the known time"
    assert left(tiles=30, seconds=60) == pytest.approx(150 * 2), "its own pace: 2 s for each tile"
    assert left(tiles=30, seconds=360) == pytest.approx(150 * 12)
    assert left(tiles=30, seconds=360, workers=2) == pytest.approx(150 * 12), "one shard has one worker"
    assert left(tiles=0, seconds=360) == pytest.approx(360), "nothing is decided yet"


def test_the_pace_of_a_shard_in_work_serves_where_no_time_is_known() -> None:
    pace = Pace()
    pace.left[PGD] = 100
    assert pace.seconds_left([(PGD, ShardState(cell="", tiles=10, of=50, seconds=20))]) == pytest.approx(90 * 2)


def test_finished_cells_and_a_forecast_tell_the_time_left_before_any_tile_is_done(store: Store) -> None:
    done, to_do = attack_on("resnet18"), attack_on("googlenet")
    done.publish(store, tiles=8, cost={"seconds": 16.0})
    write_forecast(store, "demo", {to_do.key: 40.0})
    state = RunState(run="demo", stages=[StageState(name="attack")])
    with stage_progress(Console(file=io.StringIO()), "attack", 8, "tiles", run=state) as progress:
        progress.expect([to_do], [8], {})
        progress.learn_from([done, to_do], store)
        progress.advance(2, to_do, seconds=2.0)
        assert state.stages[0].seconds_left == pytest.approx(6 * 1.0), "its own time is known now"
    with stage_progress(Console(file=io.StringIO()), "attack", 8, "tiles", run=state) as progress:
        progress.expect([to_do], [8], read_forecast(store, "demo"))
        progress.show_shards({NAME: ShardState(cell=to_do.name, tiles=4, of=8)}, {to_do.name: to_do})
        assert state.stages[0].seconds_left == pytest.approx(4 * 5.0)
    assert read_forecast(store, "another") == {}
