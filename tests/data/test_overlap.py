"""Siblings between an external test set and training tiles."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np

from raypipe.data.audit.overlap import find_overlap
from raypipe.data.audit.sketch import Sketch, sketch_tiles
from raypipe.data.sources import open_source
from raypipe.data.sources.synthetic import Synthetic

SOURCES = 12


def sketch(seed: int, sibling: int) -> tuple[Sketch, list[str]]:
    """Return sketches of one sibling of each source tile of a synthetic data set."""
    source = open_source(Synthetic(sources_per_class=SOURCES, siblings=2, size=128), seed)
    paths = [ref.path for ref in source.list() if ref.path.endswith(f"{sibling:02}.png") and "lung" in ref.path]
    stage = SimpleNamespace(advance=lambda _: None)
    sketches, readable, _ = sketch_tiles(source, paths, 1, lambda *_: nullcontext(stage))
    return sketches, readable


def test_siblings_of_training_tiles_are_found_and_other_tissue_is_not() -> None:
    training, paths = sketch(seed=0, sibling=0)
    siblings, others = sketch(seed=0, sibling=1)[0], sketch(seed=1, sibling=0)[0]
    same = find_overlap(training, siblings, workers=1)
    found = same.similarity >= same.threshold
    assert found.mean() > 0.8
    assert (same.nearest[found] == np.arange(len(paths))[found]).mean() > 0.9
    apart = find_overlap(training, others, workers=1)
    assert (apart.similarity >= apart.threshold).mean() < 0.1
