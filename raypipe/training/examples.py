"""Labelled tiles as training reads them: encoded, in memory, each worker its equal share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.schemas import ADVERSARIALS, TILES
from raypipe.store import Store

SCHEMAS = {"tiles": TILES, "adversarials": ADVERSARIALS}


@dataclass(frozen=True)
class Examples:
    """Tiles with their labels and groups, in stored order.

    Parameters
    ----------
    sample_ids, images, labels, groups
        One entry a tile: its id, its losslessly encoded image, its label, and its group (its own id where unknown).
    """

    sample_ids: tuple[str, ...]
    images: tuple[bytes, ...]
    labels: tuple[int, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: Sequence[int] | NDArray[np.int64]) -> "Examples":
        """Some of them, in the order given."""
        return Examples(
            tuple(self.sample_ids[i] for i in chosen),
            tuple(self.images[i] for i in chosen),
            tuple(self.labels[i] for i in chosen),
            tuple(self.groups[i] for i in chosen),
        )

    def joined(self, other: "Examples") -> "Examples":
        """These and then the others."""
        return Examples(
            self.sample_ids + other.sample_ids,
            self.images + other.images,
            self.labels + other.labels,
            self.groups + other.groups,
        )

    def share(self, rank: int, workers: int, seed: int) -> "Examples":
        """One worker's share of a seeded shuffle. All shares are equally large, since DDP waits for every worker at
        every step: the remainder, fewer tiles than there are workers, is left out.
        """
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(order[rank::workers][: len(self) // workers])

    def split_by_group(self, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of those kept and of those held out: about `fraction` of the groups, at least one."""
        names = sorted(set(self.groups))
        count = min(len(names) - 1, max(1, round(len(names) * fraction)))
        chosen = set(np.random.default_rng(seed).permutation(np.array(names, dtype=object))[:count])
        held = np.array([group in chosen for group in self.groups])
        return np.flatnonzero(~held), np.flatnonzero(held)


def read_examples(store: Store, kind: str, key: str, part: str = "") -> Examples:
    """The tiles, or adversarial tiles, of an artifact."""
    ids, images, labels, groups = list[str](), list[bytes](), list[int](), list[str]()
    for table in store.iter_tables(kind, key, part, ["sample_id", "image", "label", "group_id"], SCHEMAS[kind]):
        ids += table["sample_id"].to_pylist()
        images += pc.struct_field(table["image"], "bytes").to_pylist()
        labels += table["label"].to_pylist()
        groups += pc.coalesce(table["group_id"], table["sample_id"]).to_pylist()
    return Examples(tuple(ids), tuple(images), tuple(labels), tuple(groups))
