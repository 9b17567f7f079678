"""Interface of every data set to the rest of raypipe: a list of tiles, and a way to read each of them."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from raypipe.base.settings import Settings, get_default_name
from raypipe.data.published import Published

Split = Literal["train", "test"]


@dataclass(frozen=True)
class TileRef:
    """One file of a source.

    Parameters
    ----------
    path
        Path relative to the source's root, with forward slashes; unique in the source.
    label_name
        Class name. None only if there is a `problem`.
    group
        Name that siblings share (source tile, case, patient). None if unknown.
    problem
        Reason why the listing alone rejects the file, such as a file outside the class folders.
    official
        Side of the split that was published with the data set. None if there is none. Published validation tiles are
        training tiles here, because nothing is chosen by them.
    """

    path: str
    label_name: str | None
    group: str | None
    problem: str | None = None
    official: Split | None = None


class Source(Protocol):
    """A data set. It can be pickled, because workers read from it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names. A class's position is its integer label."""

    @property
    def malignant(self) -> tuple[str, ...]:
        """Names of the cancer classes; empty if unknown. Calling one of them benign is the more serious error."""

    @property
    def synthetic(self) -> bool:
        """True if a program drew the tiles, so that no figure on them says anything about tissue."""

    @property
    def restriction(self) -> str | None:
        """Reason why no picture made from its tiles may be redistributed, such as a license. None if there is none."""

    def list(self) -> Sequence[TileRef]:
        """List every file, sorted by path. Equal files give equal lists."""

    def read(self, path: str) -> bytes:
        """Return the bytes of one file, or raise OSError."""

    def fingerprint(self, refs: Iterable[TileRef], cache: MutableMapping[str, str] | None = None) -> str:
        """Return a hex digest of these tiles. It is equal on every machine and changes when a byte changes."""


class DataSet(NamedTuple):
    """A kind of data set: its settings, the function that opens it with a seed, and its publication."""

    settings: type[Settings]
    open: Callable[[Any, int], Source]
    published: Published | None = None

    @property
    def name(self) -> str:
        """Name of the data set in experiments, the default of the field `source` of its settings."""
        return get_default_name(self.settings, "source")


def compute_fingerprint(labels: Sequence[str], refs: Iterable[TileRef], contents: Mapping[str, str]) -> str:
    """Return a digest of everything about `refs` that reaches a table of tiles.

    Labels and groups count as well as bytes, since both can change (in a groups CSV) while the files do not. A ref with
    a problem is never read, so its content does not count.

    Parameters
    ----------
    labels
        Class names of the source. Their order determines the integer labels.
    refs
        Tiles, in any order.
    contents
        Digest of the content by path. A path that is absent counts as no content.

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


def shuffle_by_hash(names: Iterable[str], seed: int) -> list[str]:
    """Shuffle distinct names by the hash of each with the seed.

    Unlike a generator's stream, this does not depend on the order or number of the names or on a library's version. A
    published seed therefore keeps its meaning.
    """
    return sorted(set(names), key=lambda name: hashlib.sha256(f"{seed}\n{name}".encode()).digest())
