"""The command `raypipe store`: it lists first, and deletes on request only."""

import json
from pathlib import Path

import pytest

from raypipe.evaluation.results.compute import compute_result
from raypipe.plan.cells import Cell
from raypipe.plan.record import write_plan
from raypipe.storage.store import Store
from tests.cli.conftest import Command
from tests.evaluation.handmade import hand_run
from tests.execution.test_housekeeping import compute, tiles


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "results"))
    compute_result(store, hand_run(store))
    return store


@pytest.fixture
def planned(store: Store) -> Cell:
    cell = tiles("planned")
    compute(store, cell)
    write_plan(store, "unfinished", [cell])
    return cell


def test_the_size_of_a_store_by_content_and_run(cli: Command, store: Store, planned: Cell) -> None:
    compute(store, tiles("nobody's"))
    whole = json.loads(cli("store", "size", "--json").out)
    assert whole["bytes"] == sum(file.size for file in store.list_tree())
    assert whole["content"]["tiles"]["bytes"] >= 400
    assert set(whole["runs"]) == {"hand", "unfinished"}
    text = cli("store", "size").out
    assert "unfinished" in text
    assert "of which no run needs" in text


def test_nothing_is_deleted_without_a_request(cli: Command, store: Store, planned: Cell) -> None:
    stray = compute(store, tiles("stray"))
    before = store.list_tree()
    listed = cli("store", "gc")
    assert stray in listed.out
    assert "nothing was deleted; add --delete" in listed.out
    cli("store", "rm", "unfinished")
    assert store.list_tree() == before
    done = json.loads(cli("store", "gc", "--delete", "--json").out)
    assert stray in [part["path"] for part in done["parts"]]
    assert planned.manifest(store) is not None


def test_a_run_is_removed_and_the_others_stay(cli: Command, store: Store, planned: Cell) -> None:
    done = cli("store", "rm", "unfinished", "--delete")
    assert done.code == 0, done.err
    assert "deleted" in done.out
    assert planned.manifest(store) is None
    assert cli("results", "hand").code == 0


def test_an_unknown_run_or_store_is_an_error(cli: Command, store: Store) -> None:
    unknown = cli("store", "rm", "hant")
    assert unknown.code == 2
    assert "did you mean 'hand'" in unknown.err
    missing = cli("store", "size", "--storage", "nowhere")
    assert missing.code == 2
    assert "nowhere: there is no store" in missing.err
