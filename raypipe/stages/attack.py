"""Attack: an actor pool turns shards of clean tiles into shards of adversarial ones, cell after cell."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch
from pydantic import TypeAdapter

from raypipe.attacks import AttackSettings
from raypipe.attacks.generate import Adversarials, generate
from raypipe.config import Resources
from raypipe.data.images import encode_png
from raypipe.data.tiles import images_of
from raypipe.plan import Cell
from raypipe.schemas import ADVERSARIALS
from raypipe.stages.loaded import ModelCache
from raypipe.stages.shards import Row, complete_cells, result_path
from raypipe.store import Store
from raypipe.telemetry import StageProgress


def attack(cells: Sequence[Cell], store: Store, resources: Resources, progress: StageProgress) -> None:
    """Make the adversarial tiles of `cells`, each published as soon as its last shard is there.

    Raises
    ------
    raypipe.errors.StageError
        If a shard fails.
    """
    rows = [
        {
            "key": cell.key,
            "model": cell.inputs["model"].key,
            "attack": cell.spec.attack.model_dump_json(),
            "shard": shard,
            "target": result_path(cell, shard, store),
        }
        for cell in cells
        for shard in store.shards("tiles", cell.inputs["tiles"].key, cell.spec.split)
    ]
    complete_cells(ShardAttack, rows, cells, store, resources, progress, lambda cell: _publish(cell, store, progress))


class ShardAttack:
    """An actor that holds the model under attack, and attacks a shard at a time.

    Parameters
    ----------
    store
        Where shards are read and written, by the actor itself.
    batch_size
        Tiles attacked at once.
    gpu
        Whether this actor has a GPU.
    """

    def __init__(self, store: Store, batch_size: int, gpu: bool) -> None:
        self.store = store
        self.batch_size = batch_size
        self.models = ModelCache(store, gpu)

    def __call__(self, row: Row) -> Row:
        """Attack one shard and write the result, whole."""
        tiles = self.store.read_table(row["shard"])
        if tiles.num_rows:
            made = generate(
                self.models.get(row["model"]),
                images_of(tiles),
                tiles["label"].to_numpy(),
                TypeAdapter(AttackSettings).validate_json(row["attack"]),
                batch_size=self.batch_size,
                device=self.models.device,
            )
            table = adversarials_table(tiles, made)
        else:
            table = ADVERSARIALS.empty_table()
        self.store.write_table(row["target"], table)
        if self.models.device.type == "cuda":
            torch.cuda.empty_cache()
        return {"key": row["key"], "tiles": table.num_rows}


def adversarials_table(tiles: pa.Table, made: Adversarials) -> pa.Table:
    """The stored form of adversarial tiles, in the order of the clean ones."""
    ids = tiles["sample_id"].to_pylist()
    columns: dict[str, Any] = {
        "sample_id": ids,
        "group_id": tiles["group_id"],
        "image": [
            {"bytes": encode_png(image), "path": f"{name}.png"} for name, image in zip(ids, made.images, strict=True)
        ],
        "label": tiles["label"],
    }
    columns |= {name: getattr(made, name) for name in ADVERSARIALS.names if name not in columns}
    return pa.table(columns, schema=ADVERSARIALS)


def _publish(cell: Cell, store: Store, progress: StageProgress) -> None:
    columns = ["label", "clean_prediction", "success", "l0", "l2", "linf", "forwards", "backwards", "seconds"]
    table = pa.concat_tables(store.iter_tables(cell.kind, cell.key, columns=columns)).to_pandas()
    right = table[table["clean_prediction"] == table["label"]]
    fooled = table[table["success"]]
    seconds = float(table["seconds"].sum())
    median = {name: float(fooled[name].median()) if len(fooled) else None for name in ("l0", "l2", "linf")}
    mean = {name: float(fooled[name].mean()) if len(fooled) else None for name in ("l0", "l2", "linf")}
    cell.publish(
        store,
        tiles=len(table),
        attacked=len(right),
        succeeded=len(fooled),
        success_rate=len(fooled) / len(right) if len(right) else None,
        median=median,
        mean=mean,
        forwards=int(table["forwards"].sum()),
        backwards=int(table["backwards"].sum()),
        seconds=seconds,
    )
    size = f", median L2 {median['l2']:.2f}, L0 {median['l0']:.0f}" if len(fooled) else ""
    each = 1000 * seconds / max(1, len(right))
    progress.say(f"{cell.name}  {len(fooled)} of {len(right)} fooled{size}, {each:.0f} ms each")
