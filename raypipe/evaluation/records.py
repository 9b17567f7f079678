"""The records of a run: one for each cell of the grid and each column, computed from stored predictions."""

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from raypipe.evaluation.metrics import metrics_of
from raypipe.schemas import RESULTS
from raypipe.settings import near_matches
from raypipe.store import Store

COLUMNS = ("normal", "attacked", "robust_on_normal", "robust_on_perturbed")
"""As the paper defines them: the clean model on normal and on perturbed test tiles, then the hardened model on both.
The perturbed tiles are those made against the clean model, which makes the last column a static evaluation."""

RESULTS_FILE = "results.parquet"
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


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Parameters
    ----------
    name
        Of the run.
    location
        Where its files are.
    records
        `raypipe.schemas.RESULTS`: one row for each cell of the grid and each column.
    """

    name: str
    location: str
    records: pa.Table


def write_result(store: Store, name: str, records: list[dict[str, Any]]) -> RunResult:
    """Keep the records of a run."""
    table = pa.Table.from_pylist(records, schema=RESULTS)
    store.write_table(f"runs/{name}/{RESULTS_FILE}", table)
    return RunResult(name, store.path(f"runs/{name}"), table)


def load_result(store: Store, name: str) -> RunResult:
    """The results of an earlier run.

    Raises
    ------
    FileNotFoundError
        If there is none of that name; the message lists the runs there are.
    """
    path = f"runs/{name}/{RESULTS_FILE}"
    if not store.exists(path):
        runs = [run for run in store.list_directories("runs") if store.exists(f"runs/{run}/{RESULTS_FILE}")]
        there = f"there are: {', '.join(runs)}{near_matches(name, runs)}" if runs else "there are none yet"
        raise FileNotFoundError(f"no finished run {name!r} in {store.root}; {there}")
    return RunResult(name, store.path(f"runs/{name}"), store.read_table(path))
