"""Downloads from a server on the loopback interface that breaks off, lacks ranges, lies or sends too much."""

import hashlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from raypipe.base.errors import ConfigError, FetchError
from raypipe.cli.app import app
from raypipe.data.published import Published, RemoteFile
from raypipe.data.reading import fetching
from raypipe.data.reading.fetching import fetch
from raypipe.data.source import DataSet
from raypipe.data.sources import SOURCES
from raypipe.data.sources.folder import Folder, open_folder

BODY = bytes(range(256)) * 4096  # 1 MiB
MD5 = f"md5:{hashlib.md5(BODY).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@dataclass
class Server:
    """The behavior of the server, and the requests that it received."""

    address: str = ""
    body: bytes = BODY
    tag: str | None = '"one"'
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)
    """Numbers of bytes after which it breaks off, one per answer; later answers are complete."""
    claims: int | None = None
    status: int = 200
    location: str | None = None
    asked: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shared: Server

    def do_GET(self) -> None:
        server, asked = self.shared, self.headers.get("Range")
        server.asked.append(asked)
        if server.status != 200:
            self.send_response(server.status)
            self.send_header("Content-Length", "0")
            if server.location:
                self.send_header("Location", server.location)
            self.end_headers()
            return
        start = 0
        whole = server.body
        if asked and server.ranges and self.headers.get("If-Range") in (None, server.tag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(whole):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(server.claims or len(whole) - start))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        end = server.breaks.pop(0) if server.breaks else len(whole)
        self.wfile.write(whole[start : start + end])
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetching, "PAUSE", 0.01)
    shared = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Mine", (Handler,), {"shared": shared})) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        shared.address = f"http://127.0.0.1:{listening.server_address[1]}/a.zip"
        yield shared
        listening.shutdown()
        thread.join()


def remote(server: Server, checksum: str | None = MD5) -> RemoteFile:
    return RemoteFile("a.zip", server.address, checksum)


@pytest.mark.parametrize("checksum", [MD5, SHA256, None])
def test_a_file_is_fetched_once(server: Server, checksum: str | None, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    path, found = fetch(remote(server, checksum), tmp_path / "new" / "folder", lambda *far: told.append(far))
    assert path.read_bytes() == BODY
    assert found == checksum or (checksum is None and found == SHA256)
    assert told[-1] == (len(BODY), len(BODY))
    fetch(remote(server, checksum), path.parent)
    assert server.asked == [None], "what is there is looked at, and not asked for"
    remembered = {"a.zip.sha256"} if checksum is None else set()
    assert {each.name for each in path.parent.iterdir()} == {"a.zip", *remembered}


@pytest.mark.parametrize("checksum", [MD5, None])
def test_a_server_that_breaks_off_is_asked_for_the_rest(server: Server, checksum: str | None, tmp_path: Path) -> None:
    server.breaks = [1000, 5000, 0, 7]
    path, _ = fetch(remote(server, checksum), tmp_path)
    assert path.read_bytes() == BODY
    assert server.asked == [None, "bytes=1000-", "bytes=6000-", "bytes=6000-", "bytes=6007-"]


def test_a_server_that_always_breaks_off_is_given_up_and_gone_on_with_later(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000, *[0] * fetching.ATTEMPTS]
    with pytest.raises(FetchError, match=r"5 times in a row, at 1,000 bytes; run it again later: it resumes from ther"):
        fetch(remote(server), tmp_path)
    assert not (tmp_path / "a.zip").exists()
    server.asked.clear()
    assert fetch(remote(server), tmp_path)[0].read_bytes() == BODY
    assert server.asked == ["bytes=1000-"]


@pytest.mark.parametrize("tag", ['"one"', 'W/"weak"', None])
def test_a_server_that_knows_no_ranges_sends_all_again(server: Server, tag: str | None, tmp_path: Path) -> None:
    server.ranges, server.breaks, server.tag = False, [1000, 2000], tag
    assert fetch(remote(server, None), tmp_path)[0].read_bytes() == BODY
    assert len(server.asked) == 3


def test_without_checksum_or_mark_nothing_is_put_together(server: Server, tmp_path: Path) -> None:
    server.tag, server.breaks = None, [1000]
    fetch(remote(server, None), tmp_path)
    assert server.asked == [None, None]


def test_a_file_that_changes_in_the_middle_is_begun_anew(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000, *[0] * fetching.ATTEMPTS]
    with pytest.raises(FetchError):
        fetch(remote(server, None), tmp_path)
    server.body, server.tag = BODY[::-1], '"two"'
    assert fetch(remote(server, None), tmp_path)[0].read_bytes() == BODY[::-1]


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.body = BODY[:-1] + b"x"
    with pytest.raises(FetchError, match=rf"its checksum is md5:\w+, expected {MD5}; .* sent another file"):
        fetch(remote(server), tmp_path)
    assert not (tmp_path / "a.zip").exists()
    assert not (tmp_path / "a.zip.part").exists()


def test_what_was_fetched_first_is_what_is_expected_later(server: Server, tmp_path: Path) -> None:
    path, _ = fetch(remote(server, None), tmp_path)
    path.unlink()
    server.body = BODY[::-1]
    with pytest.raises(FetchError, match="the publisher changed the file since it was first fetched"):
        fetch(remote(server, None), tmp_path)
    server.body = BODY
    fetch(remote(server, None), tmp_path)
    path.write_bytes(b"mine")
    with pytest.raises(FetchError, match="it was changed here; remove it to fetch it again"):
        fetch(remote(server, None), tmp_path)
    (tmp_path / "a.zip.sha256").write_bytes(b"\0" * 99)
    with pytest.raises(FetchError, match="expected a SHA-256 and a file name"):
        fetch(remote(server, None), tmp_path)


def test_what_does_not_fit_on_the_disk_is_not_begun(server: Server, tmp_path: Path) -> None:
    server.claims = 10**17
    with pytest.raises(
        FetchError, match="100,000,000,000,000,000 bytes are missing, more than the free space of the disk"
    ):
        fetch(remote(server), tmp_path)
    assert not list(tmp_path.iterdir())


FULL = """
import resource, signal, sys
from pathlib import Path
from raypipe.data.reading.fetching import fetch
from raypipe.data.published import RemoteFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    fetch(RemoteFile("a.zip", sys.argv[1], sys.argv[2]), Path(sys.argv[3]))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="files are limited another way here")
def test_a_disk_that_fills_up_is_told_and_what_is_there_is_kept(server: Server, tmp_path: Path) -> None:
    run = [sys.executable, "-c", FULL, server.address, MD5, str(tmp_path)]
    told = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True).stdout
    assert re.match(r"FetchError .*a.zip: cannot be written: .*; make room and run it again: it resumes", told), told
    assert (tmp_path / "a.zip.part").stat().st_size == 300_000
    assert fetch(remote(server), tmp_path)[0].read_bytes() == BODY
    assert server.asked == [None, "bytes=300000-"]


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b"\xff", b'{"mark": 3, "size": "x"}'])
def test_what_is_remembered_of_a_part_may_be_anything(server: Server, damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(BODY[:500])
    (tmp_path / "a.zip.part.json").write_bytes(damage)
    assert fetch(remote(server), tmp_path)[0].read_bytes() == BODY


def test_a_whole_part_is_taken_and_one_that_is_too_long_begun_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(BODY)
    assert fetch(remote(server), tmp_path)[0].read_bytes() == BODY
    (tmp_path / "a.zip").unlink()
    (tmp_path / "a.zip.part").write_bytes(BODY + b"more")
    assert fetch(remote(server), tmp_path)[0].read_bytes() == BODY


@pytest.mark.parametrize(
    ("status", "location", "message"),
    [
        (404, None, "the server answered 404"),
        (503, None, "the server answered 503 Service Unavailable, 5 times in a row"),
        (302, "file:///etc/passwd", "the server answered 302|not allowed"),
        (302, "ftp://127.0.0.1/a", "unknown url type: ftp"),
    ],
)
def test_what_the_server_answers_instead_is_told(
    server: Server, status: int, location: str | None, message: str, tmp_path: Path
) -> None:
    server.status, server.location = status, location
    with pytest.raises(FetchError, match=message):
        fetch(remote(server), tmp_path)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/a", "a.zip"])
def test_only_https_and_http_are_asked(address: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="expected an address that begins with https"):
        fetch(RemoteFile("a.zip", address), tmp_path)


def test_every_address_and_checksum_in_the_registry_is_well_formed() -> None:
    for entry in SOURCES.values():
        for file in entry.published.files if entry.published else ():
            assert file.address.startswith("https://") or (file.name == "BreaKHis_v1.tar.gz" and file.checksum is None)
            assert re.fullmatch(r"[\w.-]+\w", file.name)
            assert file.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.checksum)


# The command.


def command(*words: str) -> None:
    app(["data", *words], standalone_mode=False)


@pytest.fixture
def registered(server: Server, monkeypatch: pytest.MonkeyPatch) -> Published:
    files = (remote(server), replace(remote(server), name="b.zip", license="CC BY-NC 4.0", asks=True))
    about = Published("Mine", "zip", "none", "CC BY 4.0", "https://example.org", files, then="unpack it")
    monkeypatch.setitem(SOURCES, "mine", DataSet(Folder, open_folder, about))
    return about


def test_the_list_has_every_data_set_and_its_license(capsys: pytest.CaptureFixture[str]) -> None:
    command("list")
    out = capsys.readouterr().out
    for name in SOURCES:
        assert re.search(rf"^ {name} ", out, re.MULTILINE)
    assert "CC BY-NC 4.0" in out


def test_a_data_set_is_fetched_with_its_license_shown(
    registered: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("fetch", "mine", "--file", "a.zip", "--out", str(tmp_path))
    out = capsys.readouterr().out
    assert "License: CC BY 4.0" in out
    assert f"{tmp_path}/a.zip: {MD5}, as published" in out
    assert "Then unpack it" in out


def test_a_license_that_forbids_some_use_is_to_be_accepted(registered: Published, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"CC BY-NC 4\.0 forbids some uses: read it, then add --accept-license"):
        command("fetch", "mine", "--whole", "--out", str(tmp_path))
    assert not list(tmp_path.iterdir())
    command("fetch", "mine", "--whole", "--accept-license", "--out", str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "b.zip"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mine"], "it has 2 files: name some with --file, or take --whole. a.zip, b.zip"),
        (["mine", "--file", "c.zip"], "no file 'c.zip'; did you mean"),
        (["chaoyan"], "no published data set of this name; did you mean 'chaoyang'"),
        (["folder"], "no published data set of this name"),
    ],
)
def test_what_cannot_be_meant_is_told(words: list[str], message: str, registered: Published) -> None:
    with pytest.raises(ConfigError, match=message):
        command("fetch", *words)


@pytest.mark.parametrize("name", ["areds", "chaoyang", "fundus", "lc25000"])
def test_what_no_program_may_fetch_is_an_error_that_says_where_it_is(name: str) -> None:
    with pytest.raises(ConfigError, match=r"nothing was downloaded(.|\n)*https://"):
        command("fetch", name)
