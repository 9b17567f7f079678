"""The audit of a data set: its groups of siblings, and how many of its test tiles a random split gives away."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from raypipe.data.audit.agreement import Agreement, compare_groups, merge_groups
from raypipe.data.audit.siblings import Siblings, find_siblings
from raypipe.data.audit.sketch import Progress, sketch_tiles
from raypipe.data.leakage import leakage_share
from raypipe.data.reading.tree import open_tree
from raypipe.data.source import Source, Split, TileRef
from raypipe.data.sources.folder import Folder, open_folder
from raypipe.data.sources.lc25000 import LABELS, LC25000, open_lc25000
from raypipe.data.splits import assign_splits

SEEDS = 20
"""Splits by found group over which the leak that remains is averaged."""


class Pair(NamedTuple):
    """Two tiles and the correlation of their pixels once one is laid upon the other, -1..1."""

    first: TileRef
    second: TileRef
    similarity: float


@dataclass(frozen=True)
class Audit:
    """What the audit of a data set found.

    Attributes
    ----------
    tiles
        The tiles that could be read, each with its group.
    rejected
        Why each of the other files could not.
    pairs
        Siblings that were seen, most similar first.
    threshold
        The similarity from which on two tiles were taken for siblings.
    sides
        The side of each path in a random split.
    random_leak
        Share of that split's test tiles with a sibling in training.
    cases
        The case of each path whose file name carries one.
    agreement
        With the groups that were known; None where none were given.
    """

    tiles: tuple[TileRef, ...]
    rejected: Mapping[str, str]
    pairs: tuple[Pair, ...]
    threshold: float
    sides: Mapping[str, Split]
    random_leak: float
    cases: Mapping[str, str]
    agreement: Agreement | None


def open_data(location: str, groups: str | None = None, group_pattern: str | None = None) -> Source:
    """Open a folder or zip with a folder for each class, or LC25000 as its author laid it out.

    Parameters
    ----------
    location
        Directory or zip archive, local or a URI.
    groups, group_pattern
        As in `raypipe.data.sources.folder.Folder`.

    Raises
    ------
    FileNotFoundError
        There is nothing.
    ValueError
        There are fewer than two class folders, the pattern is wrong, or both groups and a pattern are given.
    """
    folders = {PurePosixPath(entry.path).parent for entry in open_tree(location).files()}
    if group_pattern is None and any(folder.name in LABELS and len(folder.parts) > 1 for folder in folders):
        return open_lc25000(LC25000(path=location, groups=groups), seed=0)
    return open_folder(Folder(path=location, groups=groups, group_pattern=group_pattern), seed=0)


def audit_source(
    source: Source, *, by_name: bool, train_fraction: float, seed: int, workers: int, progress: Progress
) -> Audit:
    """Find the siblings in a data set by looking at its tiles.

    Parameters
    ----------
    source
        The data set. Its own groups, where it has any, are what is compared with; nothing is learnt from them.
    by_name
        Whether its groups are cases from file names: they are then kept together as well as what looks the same.
    train_fraction, seed
        Of the random split whose leak is measured.
    workers
        Processes that read tiles, and threads that compare them. The result does not depend on it.
    progress
        Shows how far the work is.

    Raises
    ------
    ValueError
        Fewer than two files give an image, a side of the split would be empty, or the source's groups do not fit it.
    """
    listed = source.list()
    refs = {ref.path: ref for ref in listed if ref.problem is None}
    sketch, readable, problems = sketch_tiles(source, sorted(refs), workers, progress)
    siblings = find_siblings(sketch, workers, progress)
    known = {path: str(refs[path].group) for path in readable if refs[path].group is not None}
    tiles = name_groups([refs[path] for path in readable], siblings)
    agreement = compare_groups(tiles, known, train_fraction, SEEDS) if known and not by_name else None
    if by_name:
        tiles = merge_groups(tiles, known)
    sides = assign_splits(tiles, "paper", train_fraction, seed)
    return Audit(
        tiles=tuple(tiles),
        rejected=problems | {ref.path: ref.problem for ref in listed if ref.problem is not None},
        pairs=tuple(_pairs(tiles, siblings)),
        threshold=siblings.threshold,
        sides=sides,
        random_leak=leakage_share([(ref.group, sides[ref.path]) for ref in tiles]) or 0.0,
        cases=known if by_name else {},
        agreement=agreement,
    )


def name_groups(refs: Sequence[TileRef], siblings: Siblings) -> list[TileRef]:
    """Give tiles the names of their groups: numbers, in the order of each group's first tile."""
    number = {first: place for place, first in enumerate(sorted(set(siblings.group.tolist())), start=1)}
    width = len(str(len(number)))
    names = [f"found{number[first]:0{width}}" for first in siblings.group.tolist()]
    return [replace(ref, group=name) for ref, name in zip(refs, names, strict=True)]


def write_groups(tiles: Sequence[TileRef], path: Path) -> None:
    """Write groups as the setting `groups` of a data set reads them: filename (below the root), label and group."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "label", "group"])
        rows.writerows([ref.path, ref.label_name, ref.group] for ref in tiles)


def _pairs(tiles: Sequence[TileRef], siblings: Siblings) -> Iterator[Pair]:
    for (first, second), similarity in zip(siblings.pairs.tolist(), siblings.similarity.tolist(), strict=True):
        yield Pair(tiles[first], tiles[second], similarity)
