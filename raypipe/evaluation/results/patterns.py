"""Universal perturbations on tiles, and the accuracy of each model with its own pattern and those of other models."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.run import Run
from raypipe.evaluation.statistics.comparison import compare
from raypipe.evaluation.statistics.intervals import estimate_mean, group_tiles


def apply_pattern(images: NDArray[np.uint8], change: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Return 8-bit tiles (n, h, w, channels) with a pattern (h, w, channels) added to each, within 0 to 255."""
    perturbed: NDArray[np.uint8] = np.clip(images.astype(np.int16) + change, 0, 255).astype(np.uint8)
    return perturbed


def parse_pattern(table: pa.Table) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return a pattern and its random control, each (h, w, channels), from `raypipe.storage.schemas.PATTERNS`."""
    (row,) = table.to_pylist()
    change, random = (np.array(row[name], np.int16).reshape(row["shape"]) for name in ("change", "random"))
    return change, random


def compute_universal(run: Run, artifacts: Artifacts) -> Iterator[dict[str, Any]]:
    """Yield the rows of `raypipe.evaluation.results.schemas.UNIVERSAL`."""
    subjects = {subject.id: subject for subject in run.subjects}
    for record in run.universal:
        table = artifacts.read_perturbed(record.key)
        groups = group_tiles(pc.coalesce(table["group_id"], table["sample_id"]).to_pylist())
        labels = table["label"].to_numpy()
        clean, fooled, random = (
            table[name].to_numpy() for name in ("clean_prediction", "prediction", "random_prediction")
        )
        yield {
            **subjects[record.subject].columns(),
            "source": record.source,
            "norm": record.norm,
            "eps": record.eps,
            "tiles": len(labels),
            "groups": groups.count,
            **estimate_mean(clean == labels, groups).columns("clean_accuracy"),
            **estimate_mean(fooled == labels, groups).columns("accuracy"),
            **estimate_mean(random == labels, groups).columns("random_accuracy"),
            **compare(random == labels, fooled == labels, groups).difference.columns("beyond_random"),
            **estimate_mean(fooled != clean, groups).columns("fooled"),
            **estimate_mean(random != clean, groups).columns("random_fooled"),
        }
