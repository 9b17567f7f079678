"""Sketches of tiles for the audit: 18 KB for each tile, in which siblings can be found and verified."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from raypipe.data.audit.appearance import histogram
from raypipe.data.audit.keypoints import find_keypoints, scale_space
from raypipe.data.audit.thumbnails import THUMBNAIL, thumbnail
from raypipe.data.reading.annotations import examples
from raypipe.data.reading.images import UnreadableImage
from raypipe.data.source import Source

DETAIL = THUMBNAIL // 2
"""Height and width in pixels of the stored picture."""

SURROUNDINGS = 5
"""Level of the scale space that is subtracted from the finest one. Larger structures differ with zoom and stain."""

CHUNK = 32
"""Number of tiles that a worker takes at a time."""

LEAST_CHUNKS = 8
"""Least number of chunks for each worker. With fewer, starting the worker takes longer than its work."""


class Stage(Protocol):
    """A stage of work whose progress is shown."""

    def advance(self, units: int = 1) -> object:
        """Count finished units of work."""


Progress = Callable[[str, int, str], AbstractContextManager[Stage]]
"""Function that opens the display of a stage, from its title, its number of units and their name."""


class Sketch(NamedTuple):
    """Tiles in the form that the audit compares. The first axis of every array is the tile.

    Parameters
    ----------
    histograms
        Float32, from `histogram`.
    places, descriptors
        Keypoints of the tiles, as in `Keypoints`; shapes (n, KEYPOINTS, 2) and (n, KEYPOINTS, DESCRIPTOR).
    details
        Int8, shape (n, DETAIL, DETAIL): gray levels minus those of their surroundings.
    """

    histograms: npt.NDArray[np.float32]
    places: npt.NDArray[np.float32]
    descriptors: npt.NDArray[np.float16]
    details: npt.NDArray[np.int8]


Result = tuple[str, Sketch | str]
"""Path of a file, and its sketch or the reason why it gives no image."""


def sketch_tiles(
    source: Source, paths: Sequence[str], workers: int, progress: Progress
) -> tuple[Sketch, list[str], dict[str, str]]:
    """Read and sketch files of a source.

    Parameters
    ----------
    source
        The data set that the files belong to.
    paths
        Paths of the files.
    workers
        Number of processes. With 1 the calling process does the work.
    progress
        Display of the progress.

    Returns
    -------
    sketch
        Sketches of the files that give an image, in the order of `paths`.
    readable
        Paths of these files.
    problems
        Reason for each other file, by path.

    Raises
    ------
    ValueError
        If fewer than two files give an image.
    """
    results: list[Result] = []
    with progress("read", len(paths), "tiles") as stage:
        for done in _in_chunks(source, paths, workers):
            results += done
            stage.advance(len(done))
    problems = {path: result for path, result in results if isinstance(result, str)}
    readable = [path for path, result in results if isinstance(result, Sketch)]
    if len(readable) < 2:
        reasons = [f"{path} ({problem})" for path, problem in problems.items()]
        raise ValueError(
            f"{len(readable)} of {len(paths)} files give an image, expected at least two to compare; "
            f"the others: {examples(reasons)}"
        )
    return stack_sketches(result for _, result in results if isinstance(result, Sketch)), readable, problems


def stack_sketches(sketches: Iterable[Sketch]) -> Sketch:
    """Return the sketches of single tiles, which lack the first axis of every array, as one."""
    return Sketch(*(np.stack(field) for field in zip(*sketches, strict=True)))


def join_sketches(first: Sketch, second: Sketch) -> Sketch:
    """Return the sketches of two sets of tiles as one, the first set first."""
    return Sketch(*(np.concatenate([one, other]) for one, other in zip(first, second, strict=True)))


def sketch_tile(pixels: npt.NDArray[np.uint8]) -> Sketch:
    """Sketch one RGB thumbnail, shape (THUMBNAIL, THUMBNAIL, 3). The arrays of the result lack the first axis."""
    stack = scale_space(pixels.mean(axis=2, dtype=np.float32))
    places, descriptors = find_keypoints(stack)
    detail = (stack[0] - stack[SURROUNDINGS])[::2, ::2]
    kept = np.clip(np.rint(detail), -127, 127).astype(np.int8)
    return Sketch(histogram(pixels), places, descriptors, kept)


def _in_chunks(source: Source, paths: Sequence[str], workers: int) -> Iterator[list[Result]]:
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    workers = min(workers, len(chunks) // LEAST_CHUNKS)
    if workers < 2:
        yield from map(partial(sketch_chunk, source), chunks)
        return
    # Not forked: the threads of pyarrow, and of the caller, do not survive a fork.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(partial(sketch_chunk, source), chunks)


def sketch_chunk(source: Source, paths: Iterable[str]) -> list[Result]:
    """Return the sketch of each file of a source, or the reason why it gives no image, with its path."""
    return [(path, _sketch_file(source, path)) for path in paths]


def _sketch_file(source: Source, path: str) -> Sketch | str:
    try:
        return sketch_tile(thumbnail(source.read(path)))
    except (UnreadableImage, OSError) as error:
        return str(error) or type(error).__name__
