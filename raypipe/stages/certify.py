"""The certify stage: workers prove per tile which perturbations change no prediction, for certified defenses."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter

from raypipe.defenses import DefenseSettings
from raypipe.defenses.base import Certificates, CertifiedDefense
from raypipe.experiment.schema import Resources
from raypipe.models.precision import full_precision
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.stages.model_cache import ModelCache
from raypipe.stages.ray_map import Row
from raypipe.stages.shards import complete_cells, shard_row
from raypipe.stages.tile_selection import ChosenTiles
from raypipe.storage.schemas import CERTIFICATES
from raypipe.storage.store import Store


def certify(cells: Sequence[Cell], store: Store, resources: Resources, progress: StageProgress) -> None:
    """Compute the certificates of `cells`.

    Raises
    ------
    raypipe.base.errors.StageError
        If a shard fails.
    """
    chosen = ChosenTiles(store)
    rows = [
        shard_row(
            *(cell, shard, take, store),
            defense=cell.spec.defense.model_dump_json(),
            norm=cell.spec.defense.certified_norm,
            seed=cell.spec.seed,
        )
        for cell in cells
        for shard, take in chosen.shards(cell.inputs["tiles"], "test", cell.spec.tiles)
    ]

    complete_cells(CertifyShard(), rows, cells, store, resources, progress)


class CertifyShard:
    """The certification of a model on a shard of clean tiles."""

    @full_precision()
    def compute(
        self,
        models: ModelCache,
        row: Row,
        tiles: pa.Table,  # noqa: ARG002  required by the protocol
        images: NDArray[np.uint8],
    ) -> Certificates:
        """Return the predictions and the radii that the defense proves."""
        defense = TypeAdapter(DefenseSettings).validate_json(row["defense"])
        assert isinstance(defense, CertifiedDefense)  # noqa: S101  the plan ensures it
        return defense.certify(models.classifier(row["model"]).eval(), images, models.device, row["seed"])

    def tabulate(self, row: Row, tiles: pa.Table, made: Certificates | None) -> tuple[pa.Table, Row]:
        """Return one row per tile, and the number of forward passes."""
        if made is None:
            return CERTIFICATES.empty_table(), {}
        own = {name: tiles[name] for name in ("sample_id", "group_id", "label")}
        proved = {"prediction": made.prediction, "radius": made.radius, "forwards": made.forwards}
        table = pa.table({**own, "norm": [row["norm"]] * tiles.num_rows, **proved}, schema=CERTIFICATES)
        return table, {"forwards": int(made.forwards.sum())}
