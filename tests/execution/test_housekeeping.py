"""Housekeeping: what no run needs is found, everything that a run needs is kept, also while runs go on."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from raypipe.base.errors import StageError
from raypipe.evaluation.results.run import Run, write_run
from raypipe.execution import housekeeping
from raypipe.execution.housekeeping import delete_run, delete_unneeded, list_shares, take_inventory
from raypipe.plan.cells import Cell, IngestSpec
from raypipe.plan.record import read_plan, write_plan
from raypipe.progress.state import RunState, write_state
from raypipe.storage.store import Store
from tests.stages.object_store import BUCKET, object_store


def tiles(name: str) -> Cell:
    spec = IngestSpec(
        fingerprint=name,
        labels=("a", "b"),
        size=32,
        split="group",
        assignment="",
        shard_size=8,
        seed=0,
        scaled_decoding=True,
    )
    return Cell("ingest", name, spec)


def compute(store: Store, cell: Cell, shards: int = 2) -> str:
    path = store.artifact(cell.kind, cell.key)
    for number in range(shards):
        store.write_bytes(f"{path}/{number}.parquet", b"x" * 100)
    cell.publish(store)
    return path


def finish(store: Store, name: str, *cells: Cell) -> None:
    records = [{"stage": c.stage, "name": c.name, "model": c.model, "kind": c.kind, "key": c.key} for c in cells]
    run = {"name": name, "labels": ("a", "b"), "malignant": (), "stamps": {}, "replicates": 100, "seed": 0, "radii": {}}
    tested = {"subjects": (), "pairings": (), "diagnostics": {}, "cells": records}
    write_run(store, Run.model_validate({**run, **tested}))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store():
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["local", "object store", "S3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store.open(str(tmp_path / "store"))
    if request.param == "S3":
        return Store.open(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")
    return Store(pafs.PyFileSystem(pafs.FSSpecHandler(MemoryFileSystem())), f"/{tmp_path.name}/store")


def paths(store: Store) -> set[str]:
    return {part.path for part in take_inventory(store).parts.values()}


def test_what_finished_and_planned_runs_need_is_kept(store: Store) -> None:
    finished, planned, old, partial, stray = map(tiles, ("finished", "planned", "old", "partial", "stray"))
    kept = {compute(store, cell) for cell in (finished, planned)}
    gone = {compute(store, cell) for cell in (old, stray)}
    store.write_bytes(f"{store.artifact(partial.kind, partial.key)}/0.parquet", b"half")
    finish(store, "done", finished)
    write_plan(store, "working", [planned, partial])
    store.write_bytes("cache/fingerprints.json", b"{}")

    inventory = take_inventory(store)
    assert {part.path for part in inventory.list_unneeded()} == gone
    assert {part.path for part in delete_unneeded(store, inventory)} == gone
    kept |= {store.artifact(partial.kind, partial.key), "runs/done", "runs/working", "cache"}
    assert paths(store) == kept
    assert not take_inventory(store).list_unneeded()


def test_an_artifact_that_a_run_claims_meanwhile_comes_back(store: Store) -> None:
    cell = tiles("reused")
    path = compute(store, cell)
    inventory = take_inventory(store)  # then a run begins:
    write_plan(store, "late", [cell])
    assert delete_unneeded(store, inventory) == []
    assert cell.manifest(store) is not None, "the run may have found it"
    assert paths(store) == {path, "runs/late"}


def test_an_artifact_that_a_run_claims_during_the_deletion_comes_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = tiles("reused")
    path = compute(store, cell)
    inventory, put_aside = take_inventory(store), housekeeping._put_aside

    def start_a_run(*arguments: Any) -> Any:
        write_plan(store, "late", [cell])
        return put_aside(*arguments)

    monkeypatch.setattr(housekeeping, "_put_aside", start_a_run)
    assert delete_unneeded(store, inventory) == []
    assert cell.manifest(store) is not None
    assert paths(store) == {path, "runs/late"}


def test_an_artifact_that_a_run_computes_meanwhile_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(str(tmp_path))
    cell = tiles("again")
    path = compute(store, cell, shards=2)
    inventory, put_aside = take_inventory(store), housekeeping._put_aside

    def start_a_run(*arguments: Any) -> Any:
        aside = put_aside(*arguments)
        write_plan(store, "late", [cell])
        compute(store, cell, shards=3)
        return aside

    monkeypatch.setattr(housekeeping, "_put_aside", start_a_run)
    delete_unneeded(store, inventory)
    assert len(store.shards(cell.kind, cell.key)) == 3
    assert paths(store) == {path, "runs/late"}


def test_a_run_is_removed_with_what_only_it_needs(store: Store) -> None:
    shared, own = tiles("shared"), tiles("own")
    kept = compute(store, shared)
    compute(store, own)
    finish(store, "first", shared, own)
    finish(store, "second", shared)
    sizes = {run: (whole, alone) for run, whole, alone in list_shares(take_inventory(store))}
    assert sizes["first"][0] - sizes["first"][1] > 200, "it shares an artifact"
    delete_run(store, take_inventory(store), "first")
    assert paths(store) == {kept, "runs/second"}


def test_a_running_run_is_not_removed(store: Store) -> None:
    write_plan(store, "busy", [tiles("busy")])
    write_state(store, RunState(run="busy", stages=[], host="node7"))
    with pytest.raises(StageError, match="busy: is running on node7; stop it first"):
        delete_run(store, take_inventory(store), "busy")
    assert read_plan(store, "busy") is not None
    write_state(store, RunState(run="busy", stages=[], updated=time.time() - 24 * 3600))
    delete_run(store, take_inventory(store), "busy")
    assert paths(store) == set()


def test_nothing_is_deleted_while_the_needs_of_a_run_are_unknown(store: Store) -> None:
    compute(store, tiles("whose"))
    write_state(store, RunState(run="older", stages=[], state="failed"))
    inventory = take_inventory(store)
    assert inventory.unknown == ("older",)
    with pytest.raises(StageError, match="older began with an older raypipe"):
        delete_unneeded(store, inventory)
    assert len(take_inventory(store).list_unneeded()) == 1


def test_what_is_written_while_a_run_is_at_work_is_kept(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    candidate, old = tiles("chosen by a search"), tiles("old")
    path, gone = compute(store, candidate), compute(store, old)
    for file in (tmp_path / gone).iterdir():
        os.utime(file, (time.time() - 2 * 24 * 3600,) * 2)
    write_plan(store, "busy", [])
    write_state(store, RunState(run="busy", stages=[]))
    assert [part.path for part in take_inventory(store).list_unneeded()] == [gone]
    write_state(store, RunState(run="busy", stages=[], state="failed"))
    assert [part.path for part in take_inventory(store).list_unneeded()] == sorted([gone, path])


def test_files_of_a_crash_and_of_an_interrupted_deletion_go(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    cell = tiles("kept")
    path = compute(store, cell)
    finish(store, "done", cell)
    for name, age in (("old", 2 * 24 * 3600), ("new", 0)):
        (file := tmp_path / path / f".tmp-{name}").write_bytes(b"half")
        stamp = time.time() - age
        os.utime(file, (stamp, stamp))
    store.write_bytes("trash/x/0.parquet", b"left")
    assert {part.path for part in delete_unneeded(store, take_inventory(store))} == {f"{path}/.tmp-old", "trash"}
    assert (tmp_path / path / ".tmp-new").exists()
    assert not (tmp_path / "trash").exists()
