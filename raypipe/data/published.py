"""Publication of a data set: its source, its terms, and the files that a program can fetch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RemoteFile:
    """A file at a public address.

    Parameters
    ----------
    name
        File name on this machine.
    address
        https URL, or http if its publisher offers no other. With http only the checksum protects the file.
    checksum
        Published checksum, "md5:..." or "sha256:...". None if none was published; the checksum of the first download is
        then stored and required later.
    license
        License of the file, if it differs from the data set's.
    asks
        True if the user must accept that license, because it forbids some use.
    """

    name: str
    address: str
    checksum: str | None = None
    license: str | None = None
    asks: bool = False


@dataclass(frozen=True)
class Published:
    """Facts about a published data set that `raypipe data` shows.

    Parameters
    ----------
    title
        Name of the data set and its subject.
    layout
        Names and arrangement of its files.
    groups
        Source of the information which tiles are siblings.
    license
        Name of its license, or its publishers' terms.
    where
        Address and terms for the parts that cannot be fetched.
    files
        Files that can be fetched.
    then
        Instructions for the files after the download; "" if raypipe reads them as they are.
    restriction
        Reason why no picture made from its tiles may be redistributed. None if nothing forbids it.
    """

    title: str
    layout: str
    groups: str
    license: str
    where: str
    files: tuple[RemoteFile, ...] = ()
    then: str = ""
    restriction: str | None = None

    @property
    def fetched(self) -> Literal["yes", "no"]:
        """Availability of files to fetch, "yes" or "no"."""
        return "yes" if self.files else "no"
