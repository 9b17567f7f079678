"""Checks of the places that a run uses: temporary files, ports, the store and its clock."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from raypipe.execution.machine.finding import Finding, State, write_size
from raypipe.storage.probe import probe_store

PORTS = {6379: "`ray start --head`", 8265: "Ray's dashboard", 10001: "Ray clients"}
LEAST_DISK = 2 * 2**30
CLOCK_SECONDS = 60.0
"""Difference of clocks from which the times in `raypipe status` mislead."""
LONGEST_TEMPORARY = 40
"""Largest number of characters of the folder for temporary files: a socket's path has at most 107, and Ray adds 64."""


def find_temporary() -> tuple[str, str]:
    """Return the folder for Ray's temporary files, and the name of the variable that sets it."""
    if place := os.environ.get("RAY_TMPDIR"):
        return place, "RAY_TMPDIR"
    return tempfile.gettempdir(), "TMPDIR"


def check_temporary() -> Iterator[Finding]:
    """Check the folder for temporary files: its path, its space, and that it can be written."""
    place, variable = find_temporary()
    existing = next(folder for folder in (Path(place), *Path(place).absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free  # Ray makes the folders that are missing
    if not place.isascii():
        text = f"{place} has other than ASCII characters, which Ray does not take"
        yield Finding(variable, "problem", text, f"set {variable} to a path of ASCII characters: /tmp")
    elif len(place) > LONGEST_TEMPORARY:
        text = f"{place} has {len(place)} characters"
        yield Finding(variable, "problem", text, f"set {variable} to a path of at most {LONGEST_TEMPORARY}: /tmp")
    elif not (existing.is_dir() and os.access(existing, os.W_OK)):
        text = f"{existing} cannot be written"
        yield Finding(variable, "problem", text, f"set {variable} to a folder that can be written: /tmp")
    elif free < LEAST_DISK:
        yield Finding(variable, "problem", f"{place}: {write_size(free)} free", "free some: Ray spills objects there")
    else:
        yield Finding(variable, "ok", f"{place}, {write_size(free)} free")
    home = Path.home()
    if not os.access(home, os.W_OK):
        yield Finding("HOME", "problem", f"{home} cannot be written", "set HOME: Ray keeps its token there")


def check_ports() -> Iterator[Finding]:
    """Check that the ports of a Ray head are free. A local run takes free ports and needs none of them."""
    taken = [f"{port} ({use})" for port, use in PORTS.items() if _is_taken(port)]
    if taken:
        remedy = "harmless for local runs; for a cluster stop what uses them, or give `ray start` other ports"
        yield Finding("ports", "note", f"in use: {', '.join(taken)}", remedy)
    else:
        yield Finding("ports", "ok", f"free: {', '.join(map(str, PORTS))}")
    if address := os.environ.get("RAY_ADDRESS"):
        yield Finding("RAY_ADDRESS", "note", address, "runs join this cluster; unset it to run locally")


def check_storage(location: str) -> Iterator[Finding]:
    """Check that the store can be written, replaced and read, has space, and agrees about the time."""
    try:
        seconds, clock = probe_store(location)
    except (OSError, ValueError, RuntimeError) as error:
        yield Finding("storage", "problem", str(error), "give a place that can be written by --storage")
        return
    text = f"{location}: written, replaced at once and read, 1 MiB in {seconds:.2f} s"
    yield Finding("storage", "ok", text)
    if "://" not in location:
        place = next(path for path in (Path(location).absolute(), *Path(location).absolute().parents) if path.exists())
        free = shutil.disk_usage(place).free
        state: State = "ok" if free >= LEAST_DISK else "problem"
        remedy = "" if state == "ok" else "free some, or see `raypipe store size`"
        yield Finding("disk", state, f"{write_size(free)} free at {place}", remedy)
    if abs(clock) > CLOCK_SECONDS:
        text = f"the store's clock differs by {clock:+.0f} s"
        yield Finding("clock", "problem", text, "set this machine's clock by NTP: object stores refuse wrong times")
    elif (ahead := Path(__file__).stat().st_ctime - time.time()) > CLOCK_SECONDS:
        yield Finding("clock", "problem", f"raypipe was installed {ahead:.0f} s in the future", "set the clock by NTP")
    else:
        yield Finding("clock", "ok", f"agrees with the store within {CLOCK_SECONDS:.0f} s")


def _is_taken(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
