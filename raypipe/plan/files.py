"""Files of data sets, with their use in an experiment: those of external test sets, and those of test tiles only."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from raypipe.base.errors import ConfigError
from raypipe.data.class_choice import map_classes
from raypipe.data.source import Source, TileRef
from raypipe.data.sources import open_source
from raypipe.data.splits import SplitKind
from raypipe.data.tiles import TileItem
from raypipe.evaluation.external import ExternalTiles
from raypipe.evaluation.results.run import GIVEN


@dataclass(frozen=True)
class Listing:
    """Files of a source, and their use in an experiment.

    Parameters
    ----------
    source
        The data set.
    split
        Kind of the split.
    items
        Every file once, with its side of the split. A file that the listing already rejects has no side.
    """

    source: Source
    split: SplitKind | Literal["given"]
    items: tuple[TileItem, ...]


def list_test_tiles(source: Source, refs: Iterable[TileRef]) -> Listing:
    """Return files that a finished model is tested on, all of them test tiles."""
    return Listing(source, GIVEN, tuple(TileItem(ref, "test" if ref.problem is None else None) for ref in refs))


def list_external(
    settings: Mapping[str, ExternalTiles], labels: Sequence[str], seed: int, name: str
) -> dict[str, Listing]:
    """List external test sets, with their classes named as those of an experiment.

    Parameters
    ----------
    settings
        Settings by the id of the set.
    labels
        Classes of the experiment, in their order.
    seed
        Seed of the experiment.
    name
        Name of the experiment, for errors.

    Raises
    ------
    ConfigError
        If a set does not exist, has no tile of a class, or maps an unknown class. The message lists all errors.
    """
    listings, problems = {}, []
    for set_id, external in settings.items():
        try:
            listings[set_id] = _list_set(external, labels, seed)
        except (OSError, ValueError) as error:
            problems.append(f"evaluation.external.{set_id}: {error}")
    if problems:
        raise ConfigError(name, problems)
    return listings


def _list_set(external: ExternalTiles, labels: Sequence[str], seed: int) -> Listing:
    opened = open_source(external.data, seed)
    source = map_classes(opened, external.labels, labels)
    counts = Counter(ref.label_name for ref in opened.list() if ref.problem is None)
    if empty := [name for name in external.labels if not counts[name]]:
        found = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        raise ValueError(
            f"labels: no file is of the class {', '.join(empty)}; there are {found}; leave it out, or correct the path"
        )
    return list_test_tiles(source, source.list())
