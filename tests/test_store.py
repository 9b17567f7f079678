import json
from pathlib import Path

import pyarrow as pa
import pytest

from raypipe.store import Store, StoreError

KEY = "0123456789abcdef0123"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_an_artifact_without_a_manifest_does_not_exist(store: Store) -> None:
    store.write_table(f"{store.artifact('tiles', KEY)}/part-00000.parquet", pa.table({"a": [1]}))
    assert store.manifest("tiles", KEY) is None
    store.publish("tiles", KEY, {"tiles": 1})
    assert store.manifest("tiles", KEY) == {"kind": "tiles", "key": KEY, "tiles": 1}


def test_tables_come_back_in_order_of_their_names(store: Store) -> None:
    for number in (2, 0, 1):
        store.write_table(f"{store.artifact('tiles', KEY)}/test/part-{number:05d}.parquet", pa.table({"a": [number]}))
    assert [table["a"].to_pylist() for table in store.iter_tables("tiles", KEY, "test")] == [[0], [1], [2]]


@pytest.mark.parametrize("path", ["../up", "a/../../up", "/etc/passwd", ""])
def test_no_path_leaves_the_root(store: Store, path: str) -> None:
    with pytest.raises(ValueError, match="leaves the store"):
        store.write_bytes(path, b"")


@pytest.mark.parametrize("key", ["../../up", "abc", "G" * 20, ""])
def test_a_key_is_a_hash(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="not a content key"):
        store.artifact("tiles", key)


def test_a_file_is_replaced_whole_and_leaves_nothing_behind(store: Store) -> None:
    store.write_json("runs/a/x.json", {"n": 1})
    store.write_json("runs/a/x.json", {"n": 2})
    assert store.read_json("runs/a/x.json") == {"n": 2}
    assert [path.name for path in Path(store.path("runs/a")).iterdir()] == ["x.json"]


def test_an_interrupted_write_is_not_listed(store: Store) -> None:
    store.write_bytes("runs/a/x", b"1")
    (Path(store.path("runs/a")) / ".tmp-123-y").write_bytes(b"half")
    assert store.list_files("runs/a") == ["x"]


def test_a_write_that_fails_says_where_and_what_to_do(store: Store) -> None:
    store.write_bytes("runs", b"a file where a directory is needed")
    with pytest.raises(StoreError, match=r"cannot write .*runs/a/x.*run again: finished work is kept"):
        store.write_bytes("runs/a/x", b"1")


def test_a_store_is_found_again_by_uri_and_by_path(tmp_path: Path) -> None:
    Store.open(str(tmp_path)).write_bytes("x", b"1")
    assert Store.open(tmp_path.as_uri()).read_bytes("x") == b"1"


def test_removing_what_is_not_there_is_no_error(store: Store) -> None:
    store.remove("runs/none")
    store.write_bytes("runs/a/x", b"1")
    store.remove("runs/a")
    assert store.list_directories("runs") == []


def test_manifests_are_plain_json(store: Store) -> None:
    store.publish("model", KEY, {"history": []})
    path = Path(store.path(f"artifacts/model/{KEY}/_manifest.json"))
    assert json.loads(path.read_text())["history"] == []
