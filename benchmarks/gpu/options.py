"""Settings of every section: the device, the sizes, and the place of its rows."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measurements.

    Parameters
    ----------
    backbone
        Name of the network.
    pixels
        Height and width of a tile.
    drawn
        Number of tiles to draw for each class; a fifth of them are test tiles.
    tiles
        Largest number of tiles to attack.
    few
        Number of tiles for slow attacks of other libraries.
    batch
        Tiles in a training step.
    victim_epochs, epochs
        Epochs of the victim's training, and of each measured training.
    tile_repeats
        Number of times that an epoch of a measured training repeats the training tiles.
    gan_epochs
        Epochs of the generator of Defense-GAN.
    runs
        Largest number of runs of an attack; the fastest counts.
    """

    backbone: str
    pixels: int
    drawn: int
    tiles: int
    few: int
    batch: int
    victim_epochs: int
    epochs: int
    tile_repeats: int
    gan_epochs: int
    runs: int


FULL = Sizes(
    "resnet18",
    pixels=224,
    drawn=60,
    tiles=64,
    few=8,
    batch=64,
    victim_epochs=20,
    epochs=4,
    tile_repeats=4,
    gan_epochs=3,
    runs=3,
)
QUICK = Sizes(
    "convnet",
    pixels=32,
    drawn=15,
    tiles=6,
    few=2,
    batch=8,
    victim_epochs=10,
    epochs=2,
    tile_repeats=1,
    gan_epochs=1,
    runs=1,
)


@dataclass(frozen=True)
class Options:
    """The options of a section.

    Parameters
    ----------
    device
        Device to measure.
    quick
        True for tiny sizes.
    folder
        Folder of the rows and of the victim.
    section
        Name of the section.
    seconds
        Time limit of the section.
    begun
        Start of the section, from `time.monotonic`.
    """

    device: torch.device
    quick: bool
    folder: Path
    section: str
    seconds: float
    begun: float = field(default_factory=time.monotonic)

    @property
    def sizes(self) -> Sizes:
        """The sizes of the measurements."""
        return QUICK if self.quick else FULL

    @property
    def remaining(self) -> float:
        """Seconds until the time limit."""
        return self.seconds - (time.monotonic() - self.begun)

    @property
    def rows_file(self) -> Path:
        """File of the section's rows, one JSON object a line."""
        return self.folder / f"{self.section}.jsonl"

    def note(self, **row: Any) -> None:
        """Write a row at once, and print it."""
        line = json.dumps(row)
        with self.rows_file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
        print(f"  {self.section}: {line}", flush=True)
