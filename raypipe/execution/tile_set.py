"""The tiles that a finished model is tested on, and the settings that determine them."""

from dataclasses import dataclass

from raypipe.execution.adapt_network import Shape
from raypipe.experiment.schema import Tiles
from raypipe.plan.cells import IngestSpec
from raypipe.plan.files import Listing
from raypipe.plan.listing import ingest_spec

SEED = 0
"""Seed of the calibration error's bootstrap, of the planted examples and of the order of tiles."""


@dataclass(frozen=True)
class TileSet:
    """The tiles that a finished model is tested on.

    Parameters
    ----------
    listing
        Files of the data set, all of them test tiles. Its labels are the model's, in the order of its logits.
    data
        Name of the data set's kind.
    size
        Height and width that images are resized to, in pixels; None if they keep their own size.
    shape
        Shape of every tile: channels, height, width.
    bit_depth
        Number of bits that 16-bit images use, see `raypipe.data.reading.images.decode`.
    """

    listing: Listing
    data: str
    size: int | None
    shape: Shape
    bit_depth: int | None = None


def describe_tiles(tiles: TileSet) -> IngestSpec:
    """Return the settings that determine the tiles. This reads their content."""
    listing = tiles.listing
    fingerprint = listing.source.fingerprint([item.ref for item in listing.items])
    return ingest_spec(
        listing,
        fingerprint,
        size=tiles.size,
        seed=SEED,
        shard_size=Tiles().shard_size,
        scaled_decoding=False,
        bit_depth=tiles.bit_depth,
    )
