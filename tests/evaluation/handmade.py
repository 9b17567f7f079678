"""A run whose figures can all be computed manually: four source tiles of two siblings each."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.base.threat import ThreatModel
from raypipe.data.reading.png import encode_png
from raypipe.evaluation.results.run import CellRecord, PairingRecord, Run, SubjectRecord, write_run
from raypipe.storage.schemas import ADVERSARIALS, PREDICTIONS, TILES
from raypipe.storage.store import Store

IDS = [f"{group}{sibling}" for group in "abcd" for sibling in "12"]
LABELS = [0, 0, 0, 0, 1, 1, 1, 1]  # groups a and b are cancer, c and d are benign
CLEAN, HARDENED = "net", "net/cw/at"


def key(name: str) -> str:
    return name.encode().hex().ljust(8, "0")


def predict(store: Store, name: str, said: list[int]) -> str:
    """Store predictions in another order than that of their ids, and return their key."""
    logits = np.eye(2, dtype=np.float32)[said] * 4
    columns = {
        "sample_id": IDS, "group_id": [name[0] for name in IDS], "label": LABELS, "model_key": ["m"] * 8,
        "tiles_key": ["t"] * 8, "logits": list(logits),
    }  # fmt: skip
    table = pa.table(columns, schema=PREDICTIONS).take(list(range(7, -1, -1)))
    store.write_table(f"{store.artifact('predictions', key(name))}/part.parquet", table)
    store.publish("predictions", key(name), {})
    return key(name)


def original(place: int) -> NDArray[np.uint8]:
    """Return the clean tile of a position: 8 x 8 pixels of one color."""
    return np.full((8, 8, 3), 100 + place, np.uint8)


def store_tiles(store: Store, name: str) -> str:
    """Store the clean tiles, and return their key."""
    columns = {
        "sample_id": IDS, "image": [{"bytes": encode_png(original(place)), "path": ""} for place in range(8)],
        "label": LABELS, "label_name": [("cancer", "benign")[label] for label in LABELS],
        "group_id": [name[0] for name in IDS], "split": ["test"] * 8, "source_path": IDS,
    }  # fmt: skip
    store.write_table(f"{store.artifact('tiles', key(name))}/test/part.parquet", pa.table(columns, schema=TILES))
    store.publish("tiles", key(name), {})
    return key(name)


def perturb(store: Store, name: str, clean: list[int], said: list[int], steps: list[int]) -> str:
    """Store adversarial tiles, each changed by a number of steps of 1/255 in one value, and return their key."""
    sizes = [step / 255 for step in steps]
    images = [original(place) for place in range(8)]
    for image, step in zip(images, steps, strict=True):
        image[0, 0, 0] += step
    columns: dict[str, Any] = {
        "sample_id": IDS, "group_id": [name[0] for name in IDS],
        "image": [{"bytes": encode_png(image), "path": ""} for image in images],
        "label": LABELS, "clean_prediction": clean, "adversarial_prediction": said,
        "success": [c == y != s for c, y, s in zip(clean, LABELS, said, strict=True)],
        "l0": [int(step > 0) for step in steps], "l2": sizes, "linf": sizes,
        "float_success": [c == y != s for c, y, s in zip(clean, LABELS, said, strict=True)], "float_l2": sizes,
        "queries": [0] * 8, "forwards": [3] * 8, "backwards": [2] * 8, "seconds": [0.5] * 8,
    }  # fmt: skip
    store.write_table(
        f"{store.artifact('adversarials', key(name))}/part.parquet", pa.table(columns, schema=ADVERSARIALS)
    )
    store.publish(
        "adversarials", key(name), {"cost": {"forwards": 24, "backwards": 16, "seconds": 4.0, "device": "cpu"}}
    )
    return key(name)


def attack_only(store: Store, run: Run, ids: list[str]) -> None:
    """Keep only some tiles in every stored set of adversarial tiles, as if no other tile had been attacked."""
    paths = {
        f"{store.artifact(kind, key)}/part.parquet"
        for pairing in run.pairings
        if pairing.protocol != "clean"
        for kind, key in (("adversarials", pairing.tiles), ("predictions", pairing.predictions))
    }
    for path in paths:
        table = store.read_table(path)
        store.write_table(path, table.filter(pc.is_in(table["sample_id"], pa.array(ids))))


def hand_run(store: Store) -> Run:
    """Return the run of an undefended and a hardened model, clean, static and adaptive, and store its artifacts."""
    models = [
        SubjectRecord(id=name, model="net", backbone="resnet18", split="group", seed=0, key=key(name), defense=defense,
                    hardened_on=attack, undefended=before)
        for name, defense, attack, before in ((CLEAN, None, None, None), (HARDENED, "at", "cw", CLEAN))
    ]  # fmt: skip
    right, all_but_d2 = LABELS, [0, 0, 0, 0, 1, 1, 1, 0]
    old = perturb(store, "old", clean=all_but_d2, said=[1, 1, 1, 1, 0, 0, 0, 0], steps=[1, 1, 1, 1, 2, 2, 2, 0])
    new = perturb(store, "new", clean=right, said=[1, 1, 1, 0, 0, 1, 1, 1], steps=[2, 2, 4, 8, 8, 8, 8, 8])
    threat = ThreatModel("l2", None)

    def pairing(subject: str, protocol: Any, tiles: str, said: list[int], **more: Any) -> PairingRecord:
        attacked = {"attack": "cw", "method": "carlini_wagner_l2", "threat": threat} if protocol != "clean" else {}
        predictions = predict(store, f"{subject} {protocol}"[:12] + protocol, said)
        return PairingRecord(subject=subject, protocol=protocol, role="grid", tiles=tiles, predictions=predictions,
                             **{**attacked, **more})  # fmt: skip

    tiles = store_tiles(store, "tiles")
    pairings = (
        pairing(CLEAN, "clean", tiles, all_but_d2),
        pairing(CLEAN, "white-box", old, [1, 1, 1, 1, 0, 0, 0, 0], source=CLEAN),
        pairing(HARDENED, "clean", tiles, right),
        pairing(HARDENED, "static", old, [0, 0, 0, 1, 1, 1, 1, 1], source=CLEAN),
        pairing(HARDENED, "adaptive", new, [1, 1, 1, 0, 0, 1, 1, 1], source=HARDENED),
    )
    made = Run(
        name="hand",
        labels=("cancer", "benign"),
        malignant=("cancer",),
        stamps={"group": ()},
        replicates=500,
        seed=0,
        radii={"linf": (2 / 255,)},
        subjects=tuple(models),
        pairings=pairings,
        diagnostics={},
        cells=tuple(
            CellRecord(stage=stage, name=name, model="net", kind=kind, key=made)
            for stage, name, kind, made in (
                ("attack", "net/cw/test", "adversarials", old),
                ("attack", "net/cw/at/cw/test", "adversarials", new),
                ("ingest", "tiles", "tiles", tiles),
            )
        ),
    )
    write_run(store, made)
    store.write_bytes(f"runs/{made.name}/experiment.yaml", b"name: hand\n")
    return made
