"""A small network, tiles that it classifies, and the command line, for evaluations of one model."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from raypipe.cli.app import main

NAMES = ("stripes", "dots", "plain")
SIZE = 32
CASES = 4
HALF = (0.5, 0.5, 0.5)


def draw(label: int, seed: int) -> NDArray[np.uint8]:
    """Return a tile that even a small network learns in seconds."""
    rng = np.random.default_rng([label, seed])
    image = rng.normal(128, 12, (SIZE, SIZE, 3))
    image[:, ::4] += 60 * (label == 0)
    image[::4, ::4] += 90 * (label == 1)
    image[..., label] += 15
    return image.clip(0, 255).astype(np.uint8)


def batch(count: int, first: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    labels = np.arange(count) % len(NAMES)
    return np.stack([draw(int(label), first + place) for place, label in enumerate(labels)]), labels


def command(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["raypipe", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def list_finished(folder: Path) -> dict[Path, int]:
    """Return when each artifact was finished."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("artifacts/*/*/_manifest.json")}


def predicted(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    with torch.no_grad():
        return model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).argmax(1).numpy()
