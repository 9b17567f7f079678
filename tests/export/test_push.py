"""The upload of an exported model to a server on loopback that answers as the Hugging Face hub does."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from raypipe.base.errors import StageError
from raypipe.export.push import push_folder, require_hub

hub = pytest.importorskip("huggingface_hub")
TOKEN = "hf_secret"


class Hub(BaseHTTPRequestHandler):
    """The requests of one upload: make a repository, ask how to send each file, and commit."""

    files: dict[str, bytes]
    asked: list[tuple[str, str]]
    created: list[dict[str, object]]
    failures: list[int]

    def do_GET(self) -> None:
        self.answer({"id": "me/net", "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self.read_body()
        self.asked.append((self.path, self.headers.get("Authorization", "")))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": f"wrong token {self.headers.get('Authorization')}"}, 403)
        elif self.failures and not self.path.endswith("validate-yaml"):
            self.answer({"error": "not now"}, self.failures.pop(0))
        elif self.path == "/api/repos/create":
            self.created.append(json.loads(body))
            self.answer({"url": f"http://{self.headers['Host']}/me/net"})
        elif self.path.endswith("/preupload/main"):
            names = [each["path"] for each in json.loads(body)["files"]]
            self.answer({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        elif self.path.endswith("/commit/main"):
            lines = [json.loads(line) for line in body.splitlines()]
            self.files |= {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            self.answer({"commitUrl": f"http://{self.headers['Host']}/me/net/commit/1", "commitOid": "1" * 40})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        else:
            self.answer({"error": self.path}, 404)

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, found: dict[str, object], status: int = 200) -> None:
        text = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    class Own(Hub):
        files: dict[str, bytes] = {}  # noqa: RUF012
        asked: list[tuple[str, str]] = []  # noqa: RUF012
        created: list[dict[str, object]] = []  # noqa: RUF012
        failures: list[int] = []  # noqa: RUF012

    served = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{served.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield Own
    served.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "exported").mkdir()
    for name, text in (("README.md", "---\nlicense: mit\n---\n# Card\n"), ("model.safetensors", "weights")):
        (tmp_path / "exported" / name).write_text(text)
    return tmp_path / "exported"


def test_every_file_arrives_with_the_token_of_the_environment(server: type[Hub], folder: Path) -> None:
    require_hub("me/net")
    assert push_folder(folder, "me/net", private=True).endswith("/me/net")
    assert server.files == {file.name: file.read_bytes() for file in folder.iterdir()}
    (created,) = server.created
    assert created["name"] == "net"
    assert created.get("private") or created.get("visibility") == "private", created
    assert {token for _, token in server.asked} == {f"Bearer {TOKEN}"}


def test_a_refusal_names_the_folder_and_never_the_token(
    server: type[Hub], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(StageError, match=r"me/net at http://127\.0\.0\.1") as refused:
        push_folder(folder, "me/net")
    assert str(folder) in str(refused.value)
    assert "hf_other" not in str(refused.value)
    assert server.files == {}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_broken_server_is_asked_again(
    status: int, server: type[Hub], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    server.failures[:] = [status]
    assert push_folder(folder, "me/net").endswith("/me/net")
    assert server.files == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert waits


def test_a_server_that_stays_broken_is_told_with_the_remedy(
    server: type[Hub], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    server.failures[:] = [500] * 1000
    with pytest.raises(StageError, match="did not take the upload in 4 attempts") as failed:
        push_folder(folder, "me/net")
    assert f"wait a while, and upload it with `hf upload me/net {folder}`" in str(failed.value)


@pytest.mark.parametrize("name", ["net", "me/net/more", "me/", "https://huggingface.co/me/net"])
def test_a_wrong_name_is_refused_before_anything_is_exported(name: str, server: type[Hub]) -> None:
    with pytest.raises(ValueError, match="expected OWNER/NAME"):
        require_hub(name)


def test_without_a_token_it_says_where_it_is_looked_for(server: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ValueError, match="set HF_TOKEN, or run `hf auth login`"):
        require_hub("me/net")
