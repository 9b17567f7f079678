"""Writing of files on a local or mounted disk, complete or not at all."""

import os
import uuid
from pathlib import Path

TEMPORARY = ".tmp-"
"""Prefix of the names of files whose writing has not finished."""


def write_local(target: Path, data: bytes, *, replace: bool = True) -> bool:
    """Write a file at once, and return True, or False if it exists and must not be replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{target.name}")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if replace or not _link_once(temporary, target):
            temporary.replace(target)
    except FileExistsError:
        temporary.unlink(missing_ok=True)
        return False
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    temporary.unlink(missing_ok=True)
    return True


def _link_once(temporary: Path, target: Path) -> bool:
    """Give a file a second name at once. Return False if the disk cannot; raise FileExistsError if the name exists."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:  # such as a mounted bucket or a FAT disk
        return False
    return True
