"""Downloads that resume after an interruption and are verified by checksum."""

import errno
import hashlib
import http.client
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from raypipe.base.errors import FetchError
from raypipe.data.published import RemoteFile

CHUNK = 2**20
ATTEMPTS = 5
"""Number of consecutive attempts without a received byte after which a download fails."""
PAUSE = 1.0
"""Seconds before the second attempt. Each further pause is twice as long."""
TIMEOUT = 60.0
"""Seconds without a byte after which an attempt fails."""
SPARE = 2**26
"""Bytes that are left free on the disk."""

Report = Callable[[int, int | None], object]
"""Function that is called with the number of received bytes and with the total, or None if the server does not give
it."""


def fetch(file: RemoteFile, folder: Path, report: Report = lambda _here, _all: None) -> tuple[Path, str]:
    """Download a file unless it exists already. An interrupted download is resumed.

    If a checksum was published, the file must have it. If none was, the SHA-256 of the first download is written beside
    the file, as FILE.sha256. Every later download must have that one.

    Parameters
    ----------
    file
        File to download.
    folder
        Folder for the file. It is created if it does not exist.
    report
        Function that is called with the progress.

    Returns
    -------
    path, checksum
        Path of the file, and its checksum.

    Raises
    ------
    FetchError
        If the file cannot be downloaded, differs from the published one, or does not fit on the disk.
    """
    target, part = folder / file.name, folder / f"{file.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        expected = file.checksum or _recall(target)
        if target.exists():
            return target, _require(target, expected, "it was changed here; remove it to fetch it again")
        _download(file, part, report, expected is not None)
        try:
            found = _require(part, expected, _explain_refusal(file))
        except FetchError:
            part.unlink()  # resuming it would give the same again
            raise
        if file.checksum is None:
            _remember(target, found)
        part.replace(target)
        _place_notes(part).unlink(missing_ok=True)
    except OSError as error:
        raise FetchError(f"{target}: cannot be written: {error.strerror or error}; {_name_remedy(error)}") from error
    return target, found


def _explain_refusal(file: RemoteFile) -> str:
    if file.checksum is None:
        return "the publisher changed the file since it was first fetched; remove its .sha256 to take the new one"
    return f"{file.address} sent another file than the published one; try again, then ask the publisher"


def _name_remedy(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return f"{'make room' if full else 'repair that'} and run it again: it resumes the download"


def _require(path: Path, expected: str | None, otherwise: str) -> str:
    """Return the checksum of a file, of the expected kind. Raise FetchError if it differs from the expected one."""
    kind = expected.partition(":")[0] if expected else "sha256"
    digest = hashlib.new(kind, usedforsecurity=kind != "md5")  # MD5 if nothing better was published
    with path.open("rb") as data:
        while chunk := data.read(CHUNK):
            digest.update(chunk)
    found = f"{kind}:{digest.hexdigest()}"
    if expected is not None and found != expected:
        raise FetchError(f"{path}: its checksum is {found}, expected {expected}; {otherwise}")
    return found


def _place_memory(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _remember(target: Path, checksum: str) -> None:
    line = f"{checksum.removeprefix('sha256:')}  {target.name}\n"  # the format of sha256sum -c
    _place_memory(target).write_text(line)


def _recall(target: Path) -> str | None:
    if not _place_memory(target).exists():
        return None
    with _place_memory(target).open() as file:
        match = re.match(r"[0-9a-f]{64}(?=\s)", file.read(100))
    if match is None:
        raise FetchError(
            f"{_place_memory(target)}: expected a SHA-256 and a file name; remove it to accept the next download"
        )
    return f"sha256:{match[0]}"


def _download(file: RemoteFile, part: Path, report: Report, checked: bool) -> None:
    idle = 0
    while True:
        before = _get_size(part)
        try:
            if _receive(file, part, report, checked):
                return
            why = "it broke off"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise FetchError(f"{file.address}: the server answered {error.code} {error.reason}") from error
            why = f"the server answered {error.code} {error.reason}"
        except urllib.error.URLError as error:
            why = str(error.reason)
        except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
            why = str(error) or type(error).__name__
        idle = 0 if _get_size(part) > before else idle + 1
        if idle >= ATTEMPTS:
            raise FetchError(
                f"{file.address}: {why}, {ATTEMPTS} times in a row, at {_get_size(part):,} bytes; run it again later: "
                "it resumes from there"
            )
        time.sleep(PAUSE * 2 ** max(0, idle - 1))


def _receive(file: RemoteFile, part: Path, report: Report, checked: bool) -> bool:
    """Request the missing bytes and append them. Return True if the file is complete."""
    here, about = _get_size(part), _read_known(part)
    mark = about.get("mark")
    if here and not (mark or checked):
        here = 0  # nothing would show that the rest belongs to these bytes
    address = _require_web_address(file.address)
    request = urllib.request.Request(address, headers={"Accept-Encoding": "identity"})  # noqa: S310  a web address
    if here:
        request.add_header("Range", f"bytes={here}-")
        if mark:
            request.add_header("If-Range", mark)
    try:
        answer = _build_opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not here:
            raise
        if about.get("size") == here:
            return True
        part.unlink()
        return False
    with answer:
        start, size = _read_extent(answer, here, file.address)
        if size is not None and size - start > shutil.disk_usage(part.parent).free - SPARE:
            raise FetchError(
                f"{part}: {size - start:,} bytes are missing, more than the free space of the disk; make room"
            )
        if size is None and not checked and answer.headers.get("Transfer-Encoding") != "chunked":
            raise FetchError(
                f"{file.address}: the server does not state the length of the file, so a download cannot be checked"
            )
        _place_notes(part).write_text(json.dumps({"mark": _mark(answer), "size": size}))
        with part.open("r+b" if start else "wb") as out:
            out.seek(start)
            _copy(answer, out, report, start, size)
            end = out.tell()
        return size is None or end == size


def _copy(answer: Any, out: IO[bytes], report: Report, here: int, size: int | None) -> None:
    while chunk := answer.read(CHUNK):
        out.write(chunk)
        here += len(chunk)
        report(here, size)


def _read_extent(answer: Any, here: int, address: str) -> tuple[int, int | None]:
    """Return the position of the first byte that follows, and the size of the whole file.

    A server without range requests starts at 0.
    """
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", answer.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != here:
            raise FetchError(f"{address}: asked for the bytes from {here} on, the server sent other ones; try again")
        return here, None if match[2] == "*" else int(match[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d{1,18}", length) else None


def _mark(answer: Any) -> str | None:
    """Return a validator that changes when the file does: a strong ETag, or its date."""
    tag = answer.headers.get("ETag")
    found = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")
    return found if found and found.isprintable() else None


def _place_notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_known(part: Path) -> dict[str, Any]:
    """Return the stored facts of an interrupted download. They are empty if unreadable, which only costs time."""
    try:
        known = json.loads(_place_notes(part).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _get_size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _require_web_address(address: str) -> str:
    if urlsplit(address).scheme not in ("http", "https"):
        raise FetchError(f"{address}: expected an address that begins with https:// or http://")
    return address


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Handler that refuses redirects from https to an address whose content others could change on the way."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise FetchError(f"{req.full_url}: the server sends on to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _build_opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPErrorProcessor(),
        _NoDowngrade(),
    ):
        opener.add_handler(handler)
    return opener
