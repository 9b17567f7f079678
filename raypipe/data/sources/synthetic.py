"""Synthetic tissue in the five classes of LC25000, for trials of raypipe. No figure on it is about medicine."""

import hashlib
import json
import re
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from raypipe.data.class_choice import ClassChoice
from raypipe.data.reading.png import encode_png
from raypipe.data.source import DataSet, Source, TileRef, compute_fingerprint
from raypipe.data.sources.lc25000 import MALIGNANT
from raypipe.data.tissue import LABELS, render_tile

GENERATOR_VERSION = 1
"""Version of the generator. Raise it with every change to `raypipe.data.tissue` that alters a pixel: stored tiles are
identified by it."""


class Synthetic(ClassChoice):
    """Settings of synthetic tissue.

    Parameters
    ----------
    sources_per_class
        Number of source tiles of each class. The siblings of one source tile are a group.
    siblings
        Number of augmented versions of each source tile (LC25000 has about 20).
    size
        Height and width of a tile in pixels.
    """

    source: Literal["synthetic"] = "synthetic"
    sources_per_class: int = Field(default=24, ge=2, le=10_000)
    siblings: int = Field(default=5, ge=1, le=100)
    size: int = Field(default=96, ge=32, le=1024)


@dataclass(frozen=True)
class SyntheticSource:
    """Source of synthetic tiles, which are drawn when they are read."""

    settings: Synthetic
    seed: int
    labels: tuple[str, ...] = LABELS
    malignant: tuple[str, ...] = MALIGNANT
    synthetic: bool = True
    restriction: str | None = None

    def list(self) -> Sequence[TileRef]:
        """List all tiles, sorted by path."""
        return [
            TileRef(f"{label}/{source:04}/{sibling:02}.png", label, f"{label}:{source}")
            for label in sorted(self.labels)
            for source in range(self.settings.sources_per_class)
            for sibling in range(self.settings.siblings)
        ]

    def read(self, path: str) -> bytes:
        """Draw one tile as a PNG. Raise FileNotFoundError for a path that is not in the list."""
        match = re.fullmatch(r"(\w+)/(\d{4})/(\d{2})\.png", path)
        if match is None or not self._has(match[1], int(match[2]), int(match[3])):
            raise FileNotFoundError(f"{path}: not one of the synthetic tiles, such as {self.list()[0].path}")
        pixels = render_tile(match[1], int(match[2]), int(match[3]), size=self.settings.size, seed=self.seed)
        return encode_png(pixels)

    def fingerprint(self, refs: Iterable[TileRef], cache: MutableMapping[str, str] | None = None) -> str:  # noqa: ARG002
        """Return a hex digest of everything that determines the pixels. No tile is drawn."""
        recipe = [GENERATOR_VERSION, self.settings.size, self.seed]
        content = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
        refs = tuple(refs)
        return compute_fingerprint(self.labels, refs, {ref.path: content for ref in refs})

    def _has(self, label: str, source: int, sibling: int) -> bool:
        return label in self.labels and source < self.settings.sources_per_class and sibling < self.settings.siblings


def open_synthetic(settings: Synthetic, seed: int) -> Source:
    """Open synthetic tissue. Equal settings and seeds give equal pixels."""
    return SyntheticSource(settings, seed)


DATA_SET = DataSet(Synthetic, open_synthetic)
