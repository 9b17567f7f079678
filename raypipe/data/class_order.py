"""A data set with its classes in the order of a model's logits."""

import hashlib
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass

from raypipe.data.source import Source, TileRef


@dataclass(frozen=True)
class ReorderedSource:
    """A data set whose labels are the positions of its classes among those of a model.

    Parameters
    ----------
    source
        The data set.
    labels
        Classes of the model, in the order of its logits.
    """

    source: Source
    labels: tuple[str, ...]

    @property
    def malignant(self) -> tuple[str, ...]:
        """Names of the cancer classes."""
        return self.source.malignant

    @property
    def synthetic(self) -> bool:
        """True if a program drew the tiles."""
        return self.source.synthetic

    @property
    def restriction(self) -> str | None:
        """Reason why no picture made from its tiles may be redistributed."""
        return self.source.restriction

    def list(self) -> Sequence[TileRef]:
        """List every file, sorted by path."""
        return self.source.list()

    def read(self, path: str) -> bytes:
        """Return the bytes of one file, or raise OSError."""
        return self.source.read(path)

    def fingerprint(self, refs: Iterable[TileRef], cache: MutableMapping[str, str] | None = None) -> str:
        """Return a hex digest of these tiles and of the order of the classes."""
        content = self.source.fingerprint(refs, cache)
        return hashlib.sha256(f"{content} {self.labels}".encode()).hexdigest()


def reorder_classes(source: Source, labels: Sequence[str]) -> ReorderedSource:
    """Return a data set with the labels of a model.

    Parameters
    ----------
    source
        The data set.
    labels
        The model's classes in the order of its logits.

    Raises
    ------
    ValueError
        If a class of the data set is none of the model's classes.
    """
    if unknown := sorted(set(source.labels) - set(labels)):
        raise ValueError(
            f"the model does not know the class {', '.join(unknown)}; it has {', '.join(labels)}: rename the folders, "
            "or give --labels in the order of its logits (a name with a comma in double quotes)"
        )
    return ReorderedSource(source, tuple(labels))
