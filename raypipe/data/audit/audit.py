"""The audit of a data set: its groups of siblings, and the leakage of a random split."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from raypipe.data.audit.agreement import Agreement, compare_groups, merge_groups
from raypipe.data.audit.siblings import Siblings, find_siblings
from raypipe.data.audit.sketch import Progress, sketch_tiles
from raypipe.data.leakage import measure_leakage
from raypipe.data.reading.tree import open_tree
from raypipe.data.source import Source, Split, TileRef
from raypipe.data.sources.folder import Folder, open_folder, split_side
from raypipe.data.sources.lc25000 import LABELS, LC25000, open_lc25000
from raypipe.data.splits import assign_splits

SEEDS = 20
"""Number of splits by found group that the remaining leakage is averaged over."""


class Pair(NamedTuple):
    """Two tiles and the correlation of their pixels after one is mapped onto the other, -1 to 1."""

    first: TileRef
    second: TileRef
    similarity: float


@dataclass(frozen=True)
class Audit:
    """Result of the audit of a data set.

    Parameters
    ----------
    tiles
        Readable tiles, each with its group.
    rejected
        Reason for each file that could not be read, by path.
    pairs
        Sibling pairs, most similar first.
    threshold
        Least similarity of two tiles that count as siblings.
    sides
        Side of a random split, by path.
    random_leak
        Share of that split's test tiles with a sibling in training, 0 to 1.
    cases
        Case by path, for file names that carry one.
    agreement
        Agreement with the known groups. None if there are none.
    dark
        Brightest value of each 16-bit image that uses few of its bits, see `raypipe.data.reading.images.decode`.
    """

    tiles: tuple[TileRef, ...]
    rejected: Mapping[str, str]
    pairs: tuple[Pair, ...]
    threshold: float
    sides: Mapping[str, Split]
    random_leak: float
    cases: Mapping[str, str]
    agreement: Agreement | None
    dark: tuple[int, ...] = ()


def choose_class_folders(
    location: str, groups: str | None = None, group_pattern: str | None = None
) -> Folder | LC25000:
    """Return the settings of a folder or zip archive with a folder for each class, or LC25000 in its original layout.

    Parameters
    ----------
    location
        Directory or zip archive, a local path or a URI.
    groups, group_pattern
        See `raypipe.data.sources.folder.Folder`.

    Raises
    ------
    FileNotFoundError
        If the location does not exist.
    ValueError
        If the pattern is invalid, or if both groups and a pattern are given.
    """
    folders = {PurePosixPath(entry.path).parent for entry in open_tree(location).list_files()}
    nested = [folder for folder in folders if len(folder.parts) > 1 and not any(map(split_side, folder.parts[:-1]))]
    if group_pattern is None and any(folder.name in LABELS for folder in nested):
        return LC25000(path=location, groups=groups)
    return Folder(path=location, groups=groups, group_pattern=group_pattern)


def open_data(location: str, groups: str | None = None, group_pattern: str | None = None) -> Source:
    """Open the data set of `choose_class_folders`.

    Raises
    ------
    FileNotFoundError
        If the location does not exist.
    ValueError
        If there are fewer than two class folders, if the pattern is invalid, or if both groups and a pattern are given.
    """
    settings = choose_class_folders(location, groups, group_pattern)
    return open_lc25000(settings, seed=0) if isinstance(settings, LC25000) else open_folder(settings, seed=0)


def audit_source(
    source: Source,
    *,
    by_name: bool,
    train_fraction: float,
    seed: int,
    workers: int,
    progress: Progress,
    bit_depth: int | None = None,
) -> Audit:
    """Find the siblings in a data set from the pixels of its tiles.

    Parameters
    ----------
    source
        The data set. Its own groups, if it has any, are only compared with the found ones; they do not influence them.
    by_name
        True if its groups are cases from file names. These are then kept together, in addition to tiles that look
        alike.
    train_fraction, seed
        Share of training tiles and seed of the random split whose leakage is measured.
    workers
        Number of processes that read tiles and of threads that compare them. The result does not depend on it.
    progress
        Display of the progress.
    bit_depth
        Number of bits that 16-bit images use. None takes the number that each file states.

    Raises
    ------
    ValueError
        If fewer than two files give an image, a side of the split is empty, or the source's groups do not fit its
        tiles.
    """
    listed = source.list()
    refs = {ref.path: ref for ref in listed if ref.problem is None}
    dark: list[int] = []
    sketch, readable, problems = sketch_tiles(
        source, sorted(refs), workers, progress, bit_depth=bit_depth, report_dark=dark.append
    )
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
        pairs=tuple(_list_pairs(tiles, siblings)),
        threshold=siblings.threshold,
        sides=sides,
        random_leak=measure_leakage([(ref.group, sides[ref.path]) for ref in tiles]) or 0.0,
        cases=known if by_name else {},
        agreement=agreement,
        dark=tuple(dark),
    )


def name_groups(refs: Sequence[TileRef], siblings: Siblings) -> list[TileRef]:
    """Return the tiles with numbered group names, in the order of each group's first tile."""
    number = {first: place for place, first in enumerate(sorted(set(siblings.group.tolist())), start=1)}
    width = len(str(len(number)))
    names = [f"found{number[first]:0{width}}" for first in siblings.group.tolist()]
    return [replace(ref, group=name) for ref, name in zip(refs, names, strict=True)]


def write_groups(tiles: Sequence[TileRef], path: Path) -> None:
    """Write a CSV that a data set's setting `groups` reads: filename (below the root), label and group."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "label", "group"])
        rows.writerows([ref.path, ref.label_name, ref.group] for ref in tiles)


def _list_pairs(tiles: Sequence[TileRef], siblings: Siblings) -> Iterator[Pair]:
    for (first, second), similarity in zip(siblings.pairs.tolist(), siblings.similarity.tolist(), strict=True):
        yield Pair(tiles[first], tiles[second], similarity)
