"""Cause of a drop on an external test set: the same models on its tiles with matched colors, and at other scales.

`python -m benchmarks.external_shift STORE RUN` prints the mean color of each class, and for each model the recall of
each mapped class and their mean. Run it after `raypipe run jobs/external_colon.yaml`.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image

from raypipe.data.tiles import decode_images
from raypipe.evaluation.predict import predict
from raypipe.evaluation.results.run import read_run
from raypipe.models.artifacts import load_model
from raypipe.storage.store import Store

BATCH = 32
ZOOM = 0.5
"""Share of a tile's height that the enlarged version shows."""
Tiles = NDArray[np.uint8]


def match_colors(tiles: Tiles, reference: Tiles) -> Tiles:
    """Return tiles whose channels each have the mean of all reference tiles, and the mean of their spreads."""
    pixels, goal = tiles.astype(np.float64), reference.astype(np.float64)
    mean, spread = pixels.mean((1, 2), keepdims=True), pixels.std((1, 2), keepdims=True)
    matched = (pixels - mean) / np.maximum(spread, 1) * goal.std((1, 2)).mean(0) + goal.mean((0, 1, 2))
    rounded: Tiles = np.clip(matched.round(), 0, 255).astype(np.uint8)
    return rounded


def resize(tiles: Tiles, size: int) -> Tiles:
    """Return square tiles in another size."""
    pictures = (Image.fromarray(each).resize((size, size), Image.Resampling.BILINEAR) for each in tiles)
    return np.stack([np.asarray(picture) for picture in pictures])


def enlarge(tiles: Tiles) -> Tiles:
    """Return the middle of each tile in the size of the tile."""
    size = tiles.shape[1]
    kept = round(ZOOM * size)
    begin = (size - kept) // 2
    return resize(tiles[:, begin : begin + kept, begin : begin + kept], size)


def reduce(tiles: Tiles) -> Tiles:
    """Return each tile at half its size, with its mirror images around it."""
    small = resize(tiles, tiles.shape[1] // 2)
    wide = np.concatenate([small, small[:, :, ::-1]], axis=2)
    return np.concatenate([wide, wide[:, ::-1]], axis=1)


def list_versions(tiles: Tiles, reference: Tiles) -> Iterator[tuple[str, Tiles]]:
    """Yield the external tiles unchanged, with matched colors, at other scales, and both."""
    yield "unchanged", tiles
    yield "colors matched", match_colors(tiles, reference)
    yield "twice as large", enlarge(tiles)
    yield "half as large", reduce(tiles)
    yield "colors matched, twice as large", match_colors(enlarge(tiles), reference)
    yield "colors matched, half as large", match_colors(reduce(tiles), reference)


def read_tiles(store: Store, key: str, split: str) -> tuple[Tiles, NDArray[np.int64]]:
    """Return the tiles of a split, and their classes."""
    table = pa.concat_tables(store.iter_tables("tiles", key, split))
    return decode_images(table), table["label"].to_numpy()


def main() -> None:
    """Print the figures of every model and external test set of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("run")
    arguments = parser.parse_args()
    store = Store.open(arguments.store)
    run = read_run(store, arguments.run)
    keys = {subject.id: subject.key for subject in run.subjects}
    for record in run.external:
        own = run.find_clean_pairing(record.subject).tiles
        reference, classes = read_tiles(store, own, "train")
        tiles, labels = read_tiles(store, record.tiles, "test")
        for name, (images, of) in {"training": (reference, classes), record.set_id: (tiles, labels)}.items():
            for label in np.unique(labels):
                print(f"{name} {run.labels[label]}: mean color {images[of == label].mean((0, 1, 2)).round()}")
        model, _ = load_model(store, keys[record.subject])
        for name, version in list_versions(tiles, reference):
            predicted = predict(model, version, BATCH, torch.device("cpu")).argmax(1)
            recalls = [100 * (predicted[labels == label] == label).mean() for label in np.unique(labels)]
            shown = ", ".join(f"{recall:.1f}" for recall in recalls)
            print(f"{record.subject} on {record.set_id}, {name}: {np.mean(recalls):.1f} (recalls {shown})")


if __name__ == "__main__":
    main()
