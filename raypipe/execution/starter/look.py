"""A look at a data set: classes, counts, sizes, and the groups that file names show."""

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from PIL import Image

from raypipe.data.reading.images import UnreadableImage, decode
from raypipe.data.source import Source, TileRef

SAMPLE = 200
"""Number of images whose size is read."""
DECODED = 20
"""Number of images that are decoded to see if 16-bit values use all of their range."""
PATTERNS = (
    r"(TCGA-\w{2}-\w{4})",
    r"((?i:patient|pat|case|subject|subj|sub|donor|slide|wsi|mouse|specimen)[ _-]?[A-Za-z]?\d+)",
    r"^([A-Za-z]{1,6}[ _-]?\d+)[ _-].*\d",
    r"^(\d{2,})[ _-].*\d",
    r"^(.+?)[ _-](?i:tile|patch|crop|x|roi|aug|copy|part)[ _-]?\d",
    r"^(.+)[ _-]\d+\.\w+$",
)
"""Patterns of cases in file names, the most specific first: the first group is the case."""
COVERED = 0.95
"""Share of the files that a pattern has to match."""
FEWEST = 4
"""Least number of groups per class on average, so that a split by group can balance the classes."""
CANCER = re.compile(
    r"malign|cancer|carcino|tumou?r|neoplas|melanom|metasta|lymphoma|sarcoma|(^|[_ -])(aca|scc|adc)([_ -]|$)", re.I
)
BENIGN = re.compile(r"benign|normal|non[_ -]?|healthy|no[_ -]", re.I)


@dataclass(frozen=True)
class Look:
    """Properties of a data set that are known before an image is decoded.

    Parameters
    ----------
    labels, counts
        Classes, and the number of files of each.
    rejected
        Number of files that the listing rejects.
    sizes
        Number of sampled images by width and height.
    pattern
        Pattern of the case in file names; None if no pattern fits, or if the data set has groups of its own.
    groups
        Number of groups, of the data set itself or by the pattern; 0 if none are known.
    official
        True if the data set has a published split.
    cancer
        Classes whose names sound like cancer.
    dark
        Brightest value of each sampled 16-bit image that uses few of its bits, if at least half of the sample does.
    """

    labels: tuple[str, ...]
    counts: Mapping[str, int]
    rejected: int
    sizes: Mapping[tuple[int, int], int]
    pattern: str | None
    groups: int
    official: bool
    cancer: tuple[str, ...]
    dark: tuple[int, ...] = ()


def look_at(source: Source, *, by_name: bool) -> Look:
    """List a data set, and read the sizes of some of its images.

    Parameters
    ----------
    by_name
        True to look for cases in the names of files, if the data set has no groups of its own.

    Raises
    ------
    ValueError
        If no file is an image of a class.
    """
    listed = source.list()
    refs = [ref for ref in listed if ref.problem is None]
    if not refs:
        raise ValueError("no file is an image of a class")
    known = {ref.group for ref in refs if ref.group is not None}
    pattern = find_pattern(refs) if by_name and not known else None
    groups = known or (set(_find_cases(refs, pattern).values()) if pattern else set())
    return Look(
        labels=source.labels,
        counts=Counter(str(ref.label_name) for ref in refs),
        rejected=len(listed) - len(refs),
        sizes=_read_sizes(source, refs),
        pattern=pattern,
        groups=len(groups),
        official=all(ref.official is not None for ref in refs),
        cancer=source.malignant
        or tuple(name for name in source.labels if CANCER.search(name) and not BENIGN.search(name)),
        dark=_find_dark(source, refs[:: max(1, len(refs) // DECODED)]),
    )


def find_pattern(refs: Sequence[TileRef]) -> str | None:
    """Return the first pattern that gives nearly every file a case, and most cases several files, or None.

    A case that is the class itself, as in ``benign_12.png``, does not identify siblings.
    """
    classes = {ref.label_name for ref in refs}
    for pattern in PATTERNS:
        cases = _find_cases(refs, pattern)
        number = len(set(cases.values()))
        if len(cases) < COVERED * len(refs) or number < FEWEST * len(classes) or number > len(cases) / 1.5:
            continue
        return pattern
    return None


def _find_cases(refs: Sequence[TileRef], pattern: str) -> dict[str, str]:
    found = ((ref.path, re.search(pattern, PurePosixPath(ref.path).name)) for ref in refs)
    return {path: match[1] for path, match in found if match}


def _read_sizes(source: Source, refs: Sequence[TileRef]) -> Counter[tuple[int, int]]:
    """Return the sizes of images at even distances in the list. Unreadable ones are left to the run."""
    sizes: Counter[tuple[int, int]] = Counter()
    for ref in refs[:: max(1, len(refs) // SAMPLE)]:
        try:
            with Image.open(io.BytesIO(source.read(ref.path))) as image:
                sizes[image.size] += 1
        except (OSError, ValueError, Image.DecompressionBombError):
            continue
    return sizes


def _find_dark(source: Source, refs: Sequence[TileRef]) -> tuple[int, ...]:
    dark: list[int] = []
    for ref in refs:
        try:
            decode(source.read(ref.path), 1, scaled=True, report_dark=dark.append)
        except (OSError, UnreadableImage):  # left to the run
            continue
    return tuple(dark) if 2 * len(dark) >= len(refs) else ()
