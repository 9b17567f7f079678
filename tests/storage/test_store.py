import json
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from raypipe import __version__
from raypipe.storage.errors import StoreError
from raypipe.storage.records import FORMAT
from raypipe.storage.store import Store

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


def test_a_store_that_is_far_is_asked_about_many_artifacts_at_once(store: Store) -> None:
    store.publish("model", KEY, {"history": [1]})
    far = Store(SubTreeFileSystem("/", LocalFileSystem()), store.root)
    meet = threading.Barrier(3)

    def history(key: str) -> list[int] | None:
        meet.wait(10)
        return (far.manifest("model", key) or {}).get("history")

    assert far.ask_all(history, ["0" * 20, KEY, "1" * 20]) == [None, [1], None]


SCHEMA = pa.schema([("sample_id", pa.string()), ("logits", pa.list_(pa.float32()))])
TABLE = pa.table({"sample_id": ["a", "b"], "logits": [[1.0], [2.0]]}, schema=SCHEMA)


def test_a_record_tells_its_format_and_is_read_without_it(store: Store) -> None:
    store.write_record("runs/a/run.json", {"name": "a"})
    assert store.read_json("runs/a/run.json") == {"format": FORMAT, "raypipe": __version__, "name": "a"}
    assert store.read_record("runs/a/run.json") == {"name": "a"}


def test_a_record_from_before_formats_has_the_first(store: Store) -> None:
    store.write_json("runs/a/run.json", {"name": "a"})
    assert store.read_record("runs/a/run.json") == {"name": "a"}


def test_a_newer_format_is_refused_with_who_wrote_it(store: Store) -> None:
    store.write_json(f"artifacts/model/{KEY}/_manifest.json", {"format": FORMAT + 1, "raypipe": "9.1", "history": []})
    with pytest.raises(StoreError, match=rf"has format {FORMAT + 1}, written by raypipe 9\.1; .*up to format {FORMAT}"):
        store.manifest("model", KEY)


@pytest.mark.parametrize(
    "content", ["[]", "1", "null", '{"format": "2"}', '{"format": 0}', '{"format": 1.5}', "{", "[" * 9_999]
)
def test_what_is_no_record_is_damaged(store: Store, content: str) -> None:
    store.write_bytes("runs/a/run.json", content.encode())
    with pytest.raises(StoreError, match=r"runs/a/run\.json: cannot be read.*delete the folder.*compute it again"):
        store.read_record("runs/a/run.json")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE.drop_columns("logits"), "column 'logits' is missing, expected list"),
        (TABLE.set_column(0, "sample_id", pa.array([1, 2])), "column 'sample_id' is int64, expected string"),
        (pa.table({}), "column 'sample_id' is missing"),
    ],
)
def test_a_table_with_other_columns_is_damaged(store: Store, table: pa.Table, message: str) -> None:
    store.write_table("runs/a/x.parquet", table)
    with pytest.raises(StoreError, match=message):
        store.read_table("runs/a/x.parquet", schema=SCHEMA)


def test_only_the_columns_asked_for_have_to_fit(store: Store) -> None:
    store.write_table("runs/a/x.parquet", TABLE.drop_columns("logits"))
    assert store.read_table("runs/a/x.parquet", ["sample_id"], SCHEMA)["sample_id"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(40) + b"PAR1", b"{}"])
def test_a_file_that_is_no_table_is_damaged_and_one_that_is_not_there_is_not_found(
    store: Store, content: bytes
) -> None:
    store.write_bytes("runs/a/x.parquet", content)
    for read in (store.read_table, store.read_schema):
        with pytest.raises(StoreError, match=r"x\.parquet: cannot be read.*the disk fails"):
            read("runs/a/x.parquet")
        with pytest.raises(FileNotFoundError):
            read("runs/a/y.parquet")


@pytest.fixture(scope="module")
def damaged_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(str(tmp_path_factory.mktemp("damaged")))


def parquet() -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(TABLE, buffer, compression="zstd")
    return bytes(buffer.getvalue().to_pybytes())


PARQUET = parquet()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_table_is_read_or_told_to_be_damaged(damaged_store: Store, data: st.DataObject) -> None:
    made = bytearray(PARQUET[: data.draw(st.just(len(PARQUET)) | st.integers(0, len(PARQUET)))])
    for place in data.draw(st.lists(st.integers(0, max(0, len(made) - 1)), max_size=4)) if made else []:
        made[place] = data.draw(st.integers(0, 255))
    damaged_store.write_bytes("x.parquet", bytes(made))
    try:
        damaged_store.read_schema("x.parquet")
        assert damaged_store.read_table("x.parquet", schema=SCHEMA).to_pydict().keys() >= set(SCHEMA.names)
    except StoreError as error:
        assert "x.parquet" in str(error)  # noqa: PT017 - most are damaged


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=50)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["format", "raypipe", "name"]), inner),
    )
    .map(json.dumps)
    .map(str.encode)
)
def test_any_bytes_are_a_record_or_told_to_be_none(damaged_store: Store, data: bytes) -> None:
    damaged_store.write_bytes("record.json", data)
    try:
        assert isinstance(damaged_store.read_record("record.json"), dict)
    except StoreError as error:
        assert "record.json" in str(error)  # noqa: PT017


@pytest.mark.parametrize("linked", [True, False], ids=["links", "no links"])
def test_of_two_writers_the_first_one_counts(linked: bool, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    if not linked:
        monkeypatch.setattr("raypipe.storage.local_writes._link_once", lambda *_: False)
    assert store.add_bytes("a/file", b"first")
    assert not store.add_bytes("a/file", b"second")
    assert store.read_bytes("a/file") == b"first"
    assert [file.path for file in store.list_tree()] == ["a/file"], "no temporary file is left"


def test_a_file_that_appears_during_the_write_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_bytes("a/file", b"first")
    monkeypatch.setattr(Store, "exists", lambda *_: False)  # it looked just before
    assert not store.add_bytes("a/file", b"second")
    assert store.read_bytes("a/file") == b"first"
    assert [file.path for file in store.list_tree()] == ["a/file"]


def test_what_another_run_deletes_meanwhile_is_no_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_bytes("a/file", b"x")
    info = store.filesystem.get_file_info(store.path("a/file"))
    Path(store.path("a/file")).unlink()
    found = Store(type("Stale", (), {"get_file_info": lambda *_: info, "delete_file": store.filesystem.delete_file,
                                     "type_name": "local"})(), store.root)  # fmt: skip
    found.remove("a/file")
