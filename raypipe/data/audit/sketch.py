"""Sketches of tiles for the audit: 18 KB for each tile, in which siblings can be found and verified."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from raypipe.data.audit.appearance import compute_histogram
from raypipe.data.audit.keypoints import find_keypoints, scale_space
from raypipe.data.audit.thumbnails import THUMBNAIL, decode_thumbnail
from raypipe.data.reading.annotations import name_few
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
        Float32, from `compute_histogram`.
    places, descriptors
        Keypoints of the tiles, as in `Keypoints`; shapes (n, KEYPOINTS, 2) and (n, KEYPOINTS, DESCRIPTOR).
    details
        Int8, shape (n, DETAIL, DETAIL): gray levels minus those of their surroundings.
    """

    histograms: npt.NDArray[np.float32]
    places: npt.NDArray[np.float32]
    descriptors: npt.NDArray[np.float16]
    details: npt.NDArray[np.int8]


class Result(NamedTuple):
    """The path of a file, its sketch or the reason why it gives no image, and the brightest value of a dark image."""

    path: str
    sketch: Sketch | str
    brightest: int | None = None


def sketch_tiles(
    source: Source,
    paths: Sequence[str],
    workers: int,
    progress: Progress,
    *,
    bit_depth: int | None = None,
    report_dark: Callable[[int], None] = lambda _: None,
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
    bit_depth, report_dark
        Arguments of `raypipe.data.reading.images.decode`.

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
        for done in _sketch_in_chunks(source, paths, workers, bit_depth):
            results += done
            stage.advance(len(done))
    problems = {result.path: result.sketch for result in results if isinstance(result.sketch, str)}
    readable = [result.path for result in results if isinstance(result.sketch, Sketch)]
    for result in results:
        if result.brightest is not None:
            report_dark(result.brightest)
    if len(readable) < 2:
        reasons = [f"{path} ({problem})" for path, problem in problems.items()]
        raise ValueError(
            f"{len(readable)} of {len(paths)} files give an image, expected at least two to compare; "
            f"the others: {name_few(reasons)}"
        )
    sketches = (result.sketch for result in results if isinstance(result.sketch, Sketch))
    return stack_sketches(sketches), readable, problems


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
    return Sketch(compute_histogram(pixels), places, descriptors, kept)


def _sketch_in_chunks(
    source: Source, paths: Sequence[str], workers: int, bit_depth: int | None
) -> Iterator[list[Result]]:
    sketch = partial(sketch_chunk, source, bit_depth=bit_depth)
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    workers = min(workers, len(chunks) // LEAST_CHUNKS)
    if workers < 2:
        yield from map(sketch, chunks)
        return
    # Not forked: the threads of pyarrow, and of the caller, do not survive a fork.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(sketch, chunks)


def sketch_chunk(source: Source, paths: Iterable[str], bit_depth: int | None = None) -> list[Result]:
    """Return the sketch of each file of a source, or the reason why it gives no image, with its path."""
    return [_sketch_file(source, path, bit_depth) for path in paths]


def _sketch_file(source: Source, path: str, bit_depth: int | None) -> Result:
    dark: list[int] = []
    try:
        pixels = decode_thumbnail(source.read(path), bit_depth=bit_depth, report_dark=dark.append)
    except (UnreadableImage, OSError) as error:
        return Result(path, str(error) or type(error).__name__)
    return Result(path, sketch_tile(pixels), next(iter(dark), None))
