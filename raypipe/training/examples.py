"""Labeled tiles for training: encoded, in memory, with an equal share for each worker."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.data.source import shuffle_by_hash
from raypipe.storage.schemas import ADVERSARIALS, TILES
from raypipe.storage.store import Store

SCHEMAS = {"tiles": TILES, "adversarials": ADVERSARIALS}


@dataclass(frozen=True)
class Examples:
    """Tiles with their labels and groups, in stored order.

    Parameters
    ----------
    sample_ids, images, labels, groups
        One entry per tile: its id, its losslessly encoded image, its label, and its group. Where the group is unknown,
        it is the tile's id.
    """

    sample_ids: tuple[str, ...]
    images: tuple[bytes, ...]
    labels: tuple[int, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> "Examples":
        """Return the examples at the given positions, in their order."""
        return Examples(
            tuple(self.sample_ids[i] for i in positions),
            tuple(self.images[i] for i in positions),
            tuple(self.labels[i] for i in positions),
            tuple(self.groups[i] for i in positions),
        )

    def join(self, other: "Examples") -> "Examples":
        """Return these examples followed by the others."""
        return Examples(
            self.sample_ids + other.sample_ids,
            self.images + other.images,
            self.labels + other.labels,
            self.groups + other.groups,
        )

    def share(self, rank: int, workers: int, seed: int) -> "Examples":
        """Return one worker's share of a seeded shuffle.

        All shares have the same size, because DDP waits for every worker at every step. The remainder, which has fewer
        tiles than there are workers, is left out.
        """
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(order[rank::workers][: len(self) // workers])

    def hold_out(self, fraction: float, seed: int) -> tuple["Examples", "Examples"]:
        """Return the tiles to train on and the held-out tiles, about `fraction` of each class in whole groups.

        At least one group of each class is held out, unless a class would then have no tile left to train on.

        Parameters
        ----------
        fraction
            Share of the tiles to hold out, in [0, 1); 0 holds no tile out.
        seed
            Seed of the choice of groups. Another seed holds other groups out.
        """
        held = _choose_held_groups(self, fraction, seed) if fraction else set[str]()
        sides = np.array([group in held for group in self.groups], dtype=bool)
        return self.take(np.flatnonzero(~sides)), self.take(np.flatnonzero(sides))


def _choose_held_groups(examples: Examples, fraction: float, seed: int) -> set[str]:
    """Choose groups class by class, classes with the fewest groups first. A group belongs to its commonest class."""
    tiles: dict[str, Counter[int]] = defaultdict(Counter)
    for group, label in zip(examples.groups, examples.labels, strict=True):
        tiles[group][label] += 1
    of_class: dict[int, list[str]] = defaultdict(list)
    for group in shuffle_by_hash(tiles, seed):
        of_class[min(tiles[group], key=lambda label: (-tiles[group][label], label))].append(group)
    left = Counter(examples.labels)
    held: set[str] = set()

    def hold(group: str) -> bool:
        if any(left[label] <= count for label, count in tiles[group].items()):
            return False
        left.subtract(tiles[group])
        held.add(group)
        return True

    for label in sorted(of_class, key=lambda label: (len(of_class[label]), label)):
        wanted, count = fraction * examples.labels.count(label), 0
        for group in of_class[label]:
            size = tiles[group][label]
            if count + size / 2 <= wanted and hold(group):
                count += size
        if count == 0:  # All groups are too large, so the smallest possible one is held out.
            next(filter(hold, sorted(of_class[label], key=lambda group: tiles[group].total())), None)
    return held


def read_examples(store: Store, kind: str, key: str, part: str = "") -> Examples:
    """Return the tiles, or adversarial tiles, of an artifact."""
    ids, images, labels, groups = list[str](), list[bytes](), list[int](), list[str]()
    for table in store.iter_tables(kind, key, part, ["sample_id", "image", "label", "group_id"], SCHEMAS[kind]):
        ids += table["sample_id"].to_pylist()
        images += pc.struct_field(table["image"], "bytes").to_pylist()
        labels += table["label"].to_pylist()
        groups += pc.coalesce(table["group_id"], table["sample_id"]).to_pylist()
    return Examples(tuple(ids), tuple(images), tuple(labels), tuple(groups))
