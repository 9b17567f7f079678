"""What every data set looks like to the rest of raypipe: a list of tiles and a way to read each of them."""

import hashlib
import json
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Split = Literal["train", "test"]


@dataclass(frozen=True)
class TileRef:
    """One file of a source.

    Attributes
    ----------
    path
        Where the file is: relative to the source's root, with forward slashes, unique in the source.
    label_name
        Its class; None only together with a `problem`.
    group
        What it shares with its siblings (source tile, case, patient); None where that is unknown.
    problem
        Why the listing alone sets the file aside, such as a file outside the class folders.
    official
        Its side of the split that was published with the data set; None where there is none. What was published for
        validation is for training here, where nothing is chosen by it.
    """

    path: str
    label_name: str | None
    group: str | None
    problem: str | None = None
    official: Split | None = None


class Source(Protocol):
    """A data set. Picklable, since workers read from it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names; a class's place is its integer label."""

    @property
    def malignant(self) -> tuple[str, ...]:
        """The classes that are cancer; empty where that is unknown. Calling one of them benign is the graver error."""

    @property
    def synthetic(self) -> bool:
        """Whether the tiles are drawn by a program, so that no figure from them speaks of tissue."""

    @property
    def restriction(self) -> str | None:
        """Why no picture made from its tiles may be passed on, such as a licence; None where nothing forbids it."""

    def list(self) -> Sequence[TileRef]:
        """List every file, sorted by path; the same files give the same list."""

    def read(self, path: str) -> bytes:
        """Return the bytes of one file, or raise OSError."""

    def fingerprint(self, refs: Iterable[TileRef], cache: MutableMapping[str, str] | None = None) -> str:
        """Return a hex digest of these tiles: the same on every machine, another one when a byte changes."""


def fingerprint_of(labels: Sequence[str], refs: Iterable[TileRef], contents: Mapping[str, str]) -> str:
    """Digest everything about `refs` that reaches a table of tiles.

    Labels and groups count as well as bytes, since both can change (in a groups CSV) while the files do not.
    A ref with a problem is never read, so its content does not count.

    Parameters
    ----------
    labels
        The source's class names, whose order gives the integer labels.
    refs
        The tiles, in any order.
    contents
        Digest of the content of each path in `refs`; one that is absent counts as no content.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps(list(labels)).encode())
    for ref in sorted(refs, key=lambda ref: ref.path):
        row = [ref.path, ref.label_name, ref.group, ref.problem, contents.get(ref.path)]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def seeded_order(names: Iterable[str], seed: int) -> list[str]:
    """Shuffle distinct names by the hash of each with the seed.

    Unlike a generator's stream this does not depend on the order or number of the names nor on a library's
    version, so a published seed keeps its meaning.
    """
    return sorted(set(names), key=lambda name: hashlib.sha256(f"{seed}\n{name}".encode()).digest())
