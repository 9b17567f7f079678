"""The records of a run: one for each cell of the grid and each column, computed from stored predictions."""

from dataclasses import asdict
from typing import Any

import pyarrow as pa

from raypipe.evaluation.metrics import metrics_of
from raypipe.schemas import RESULTS

COLUMNS = ("normal", "attacked", "robust_on_normal", "robust_on_perturbed")
"""As the paper defines them: the clean model on normal and on perturbed test tiles, then the hardened model on both.
The perturbed tiles are those made against the clean model, which makes the last column a static evaluation."""

LEAKY, SYNTHETIC = "LEAKY", "SYNTHETIC"


def stamps(manifest: dict[str, Any]) -> list[str]:
    """What must stand beside every figure measured on these tiles.

    Parameters
    ----------
    manifest
        Of the tiles' artifact.
    """
    found = []
    if manifest["split"] == "paper":
        share = manifest["leakage"]
        known = f"{share:.1%} of the test tiles have a sibling among the training tiles" if share is not None else (
            "random split; siblings are unknown, so nothing shows that it does not leak"
        )  # fmt: skip
        found.append(f"{LEAKY}: {known}")
    if manifest["synthetic"]:
        found.append(f"{SYNTHETIC}: computer-drawn tissue; no figure here speaks of real images")
    return found


def record(identity: dict[str, Any], predictions: pa.Table, labels: list[str], marks: list[str]) -> dict[str, Any]:
    """One row of the results: who and what (`identity`), the metrics, and the stamps."""
    return {**identity, **asdict(metrics_of(predictions)), "labels": labels, "stamps": marks}


def results_table(records: list[dict[str, Any]]) -> pa.Table:
    """The records of a run as a table."""
    return pa.Table.from_pylist(records, schema=RESULTS)
