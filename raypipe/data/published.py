"""Where a data set was published, under which terms, and what can be fetched of it by a program."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RemoteFile:
    """A file at a public address.

    Attributes
    ----------
    name
        What it is called once it is here.
    address
        https, or http where its publisher offers no other; its checksum is then all that vouches for it.
    checksum
        As published: "md5:..." or "sha256:..."; None where none was. What was fetched first is then remembered.
    licence
        Its licence, where it is another one than the data set's.
    asks
        Whether that licence is to be accepted: it forbids some use.
    """

    name: str
    address: str
    checksum: str | None = None
    licence: str | None = None
    asks: bool = False


@dataclass(frozen=True)
class Published:
    """What `raypipe data` tells of a data set.

    Attributes
    ----------
    title
        Its name and what it shows.
    layout
        What its files look like.
    groups
        What says which tiles are siblings.
    licence
        Its name, or what its publishers say.
    where
        Where to get what cannot be fetched, and under which terms.
    files
        What can.
    then
        What to do with the files once they are here; "" if raypipe reads them as they are.
    restriction
        Why no picture made from its tiles may be passed on; None where nothing forbids it.
    """

    title: str
    layout: str
    groups: str
    licence: str
    where: str
    files: tuple[RemoteFile, ...] = ()
    then: str = ""
    restriction: str | None = None

    @property
    def fetched(self) -> Literal["yes", "no"]:
        """Whether there is anything to fetch."""
        return "yes" if self.files else "no"
