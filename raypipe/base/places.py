"""Places on the local disk for results, which are checked before any work."""

import re
import tempfile
from pathlib import Path

URI = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Beginning of a URI after it became a path, which leaves one slash of two."""


def require_local(path: Path) -> Path:
    """Return a path with ``~`` expanded.

    Raises
    ------
    ValueError
        If it is a URI, or there is no such home.
    """
    if URI.match(str(path)):
        raise ValueError(f"{path}: is a URI; give a local folder or file, and copy it from there")
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}; write the path out") from error


def require_writable_folder(folder: Path) -> None:
    """Require that a folder, which need not exist, can take files: one is written where it is or will be, and removed.

    Raises
    ------
    PermissionError
        If that fails.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"raypipe")
    except OSError as error:
        raise PermissionError(f"{folder}: cannot be written ({error.strerror}); give a place that can") from error


def require_writable_file(path: Path) -> None:
    """Require a place for a file, and make its folder, before any work whose results it gets.

    Raises
    ------
    OSError
        If the place is a folder, or cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file in it")
    require_writable_folder(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        try:
            path.open("ab").close()
        except OSError as error:
            raise PermissionError(f"{path}: cannot be written ({error.strerror}); give a place that can") from error
