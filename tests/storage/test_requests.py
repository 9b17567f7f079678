"""Requests to an object store: each takes tens of milliseconds, so their number decides how long small files take."""

import logging
import re
from collections.abc import Iterator

import pyarrow as pa
import pytest

from raypipe.storage.store import Store
from tests.stages.object_store import BUCKET, object_store

KEY = "0123456789abcdef"
LINE = re.compile(r"(DELETE|GET|HEAD|POST|PUT) /\S* HTTP")


class Requests(logging.Handler):
    """The requests that a server logs."""

    def __init__(self) -> None:
        super().__init__()
        self.methods: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note a request."""
        if match := LINE.search(record.getMessage()):
            self.methods.append(match[1])

    def take(self) -> list[str]:
        """Return the methods of the requests since the last call."""
        methods, self.methods = self.methods, []
        return methods


@pytest.fixture(scope="module")
def requests() -> Iterator[Requests]:
    """Yield the requests to a running server."""
    log, handler = logging.getLogger("werkzeug"), Requests()
    with object_store():
        log.setLevel(logging.INFO)
        log.addHandler(handler)
        yield handler
        log.removeHandler(handler)
        log.setLevel(logging.WARNING)


@pytest.fixture
def store(requests: Requests) -> Store:
    store = Store.open(f"s3://{BUCKET}/requests")
    requests.take()
    return store


def test_a_small_file_is_written_by_one_request(store: Store, requests: Requests) -> None:
    store.write_bytes("file", b"content")
    assert requests.take() == ["PUT"]
    assert store.read_bytes("file") == b"content"


def test_a_file_is_looked_for_by_one_request(store: Store, requests: Requests) -> None:
    assert not store.exists("missing")
    assert requests.take() == ["HEAD"]
    store.write_bytes("there", b"content")
    requests.take()
    assert store.exists("there")
    assert requests.take() == ["HEAD"]
    assert store.manifest("predictions", KEY) is None
    assert requests.take() == ["HEAD"]


def test_the_rows_of_a_cell_are_read_by_two_requests(store: Store, requests: Requests) -> None:
    store.write_summary("predictions", KEY, pa.table({"sample_id": ["a", "b"], "label": [0, 1]}))
    assert requests.take() == ["PUT"]
    assert store.read_summary("predictions", KEY, ["label"]).num_rows == 2
    assert requests.take() == ["HEAD", "GET"]
