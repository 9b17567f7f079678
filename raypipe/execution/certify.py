"""The certify stage: proofs, tile by tile, of which perturbations change no prediction, for certified defenses."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.defenses.base import Certificates
from raypipe.execution.executor import Executor, complete_cells
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.shards import Figures, ShardTask
from raypipe.execution.tile_selection import TileSelector
from raypipe.models.classifier import Classifier
from raypipe.models.precision import full_precision
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.storage.schemas import CERTIFICATES


def certify(cells: Sequence[Cell], executor: Executor, progress: StageProgress) -> None:
    """Compute the certificates of `cells`.

    Raises
    ------
    raypipe.base.errors.StageError
        If a shard fails.
    """
    selector = TileSelector(executor.store)
    tasks = [task for cell in cells for task in selector.list_test_tasks(cell)]
    complete_cells(CertifyShard(), tasks, cells, executor, progress)


class CertifyShard:
    """The certification of a model on a shard of clean tiles."""

    @full_precision()
    def compute(
        self,
        task: ShardTask,
        models: ModelCache,
        tiles: pa.Table,  # noqa: ARG002  required by the protocol
        images: NDArray[np.uint8],
    ) -> Certificates:
        """Return the predictions and the radii that the defense proves."""
        classifier = models.network(task.model).eval()
        assert isinstance(classifier, Classifier)  # noqa: S101  a hardened model comes from the store
        certificates: Certificates = task.spec.defense.certify(classifier, images, models.device, task.spec.seed)
        return certificates

    def tabulate(self, task: ShardTask, tiles: pa.Table, certificates: Certificates | None) -> tuple[pa.Table, Figures]:
        """Return one row per tile, and the number of forward passes."""
        if certificates is None:
            return CERTIFICATES.empty_table(), {}
        identity = {name: tiles[name] for name in ("sample_id", "group_id", "label")}
        proofs = {
            "prediction": certificates.prediction,
            "radius": certificates.radius,
            "forwards": certificates.forwards,
        }
        norm = [task.spec.defense.certified_norm] * tiles.num_rows
        return pa.table({**identity, "norm": norm, **proofs}, schema=CERTIFICATES), {
            "forwards": int(certificates.forwards.sum())
        }
