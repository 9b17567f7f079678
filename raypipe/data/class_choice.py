"""A data set with some of its classes, or with its classes renamed to those of another data set."""

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from raypipe.base.settings import Settings, suggest_matches
from raypipe.data.source import Source, TileRef


class ClassChoice(Settings):
    """The base of the settings of data sets whose classes can be chosen.

    Parameters
    ----------
    classes
        Names of the classes to keep, at least two. Tiles of other classes are not part of the data set. Default: all.
    """

    classes: tuple[str, ...] | None = Field(None, min_length=2, exclude_if=lambda classes: classes is None)


@dataclass(frozen=True)
class RelabeledSource:
    """A data set with other class names.

    Parameters
    ----------
    source
        The data set.
    labels
        Names of the classes. A class's position is its integer label.
    names
        New name of each class that is kept, by its name in `source`.
    reports
        True to list the tiles of all other classes as rejected, with the reason. False to leave them out silently.
    """

    source: Source
    labels: tuple[str, ...]
    names: Mapping[str, str]
    reports: bool = False

    @property
    def malignant(self) -> tuple[str, ...]:
        """Names of the cancer classes."""
        return tuple(dict.fromkeys(self.names[name] for name in self.source.malignant if name in self.names))

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
        return [renamed for ref in self.source.list() if (renamed := self._rename(ref)) is not None]

    def _rename(self, ref: TileRef) -> TileRef | None:
        if ref.problem is not None:
            return ref
        old = str(ref.label_name)
        if old in self.names:
            return replace(ref, label_name=self.names[old])
        reason = f"class {old} is not mapped"
        return TileRef(ref.path, None, None, reason) if self.reports else None

    def read(self, path: str) -> bytes:
        """Return the bytes of one file, or raise OSError."""
        return self.source.read(path)

    def fingerprint(self, refs: Iterable[TileRef], cache: MutableMapping[str, str] | None = None) -> str:
        """Return a hex digest of these tiles and of their new names."""
        return self.source.fingerprint(refs, cache)


def choose_classes(source: Source, classes: Sequence[str]) -> RelabeledSource:
    """Return a data set with some of its classes, in the order of the data set.

    Raises
    ------
    ValueError
        If one of them is not a class of the data set.
    """
    _require_known("classes", classes, source.labels, "the data set")
    kept = tuple(name for name in source.labels if name in classes)
    return RelabeledSource(source, kept, {name: name for name in kept})


def map_classes(source: Source, names: Mapping[str, str], labels: Sequence[str]) -> RelabeledSource:
    """Return a data set whose classes have the names and integer labels of another data set.

    Tiles of classes without a new name are listed as rejected.

    Parameters
    ----------
    source
        The data set.
    names
        Name of the class in the other data set, by the name of a class of `source`. Several may have the same one.
    labels
        All classes of the other data set, in their order.

    Raises
    ------
    ValueError
        If one of the data sets does not have a class that `names` mentions.
    """
    _require_known("labels", names, source.labels, "this data set")
    _require_known("labels", names.values(), labels, "the experiment's data set")
    return RelabeledSource(source, tuple(labels), dict(names), reports=True)


def _require_known(setting: str, names: Iterable[str], known: Sequence[str], whose: str) -> None:
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(
            f"{setting}: {', '.join(map(repr, unknown))}: {whose} has no such class; it has {', '.join(known)}"
            f"{suggest_matches(unknown[0], known)}"
        )
