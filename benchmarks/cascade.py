"""The passes per tile of AutoAttack's ensemble, at each radius alone and as a cascade over the radii.

    python -m benchmarks.cascade RUN --storage results --out benchmarks/results/cascade_demo.json

The models and tiles are those of a finished run. "Alone" runs the ensemble at every radius on all tiles that the model
classifies correctly. "Cascade" is the run itself: at each radius it attacks only the tiles that have not been fooled
yet.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from benchmarks.pipeline.ours import machine
from raypipe.attacks import AttackSettings
from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.norms import BoundedAttack, replace_ball
from raypipe.attacks.engine.prepare import PreparedModel, prepare
from raypipe.data.tiles import decode_images
from raypipe.evaluation.results.run import PairingRecord, read_run
from raypipe.models.artifacts import load_model
from raypipe.storage.store import Store


def count_passes(pairing: PairingRecord, model_key: str, clean: pa.Table, store: Store) -> dict[str, Any]:
    """Return forward and backward passes per attacked tile of one model's ensemble, alone and as in the run."""
    made = pa.concat_tables(store.iter_tables("adversarials", pairing.tiles))
    right = made.filter(pc.equal(made["clean_prediction"], made["label"]))
    tiles = clean.filter(pc.is_in(clean["sample_id"], right["sample_id"].combine_chunks()))
    settings = dict(pairing.settings or {})
    radii = settings.pop("radii")
    attack = TypeAdapter(AttackSettings).validate_python(settings)
    images = decode_images(tiles)
    _, height, width, channels = images.shape
    model = prepare(load_model(store, model_key)[0], (channels, height, width), device="cpu")
    alone = {eps: _passes(model, images, tiles, replace_ball(attack, eps, attack.norm)) for eps in radii}
    return {
        "model": pairing.subject,
        "attack": pairing.attack,
        "tiles": len(images),
        "alone": [{"eps": eps, "passes": passes} for eps, passes in alone.items()],
        "alone_total": sum(alone.values()),
        "cascade": sum(pc.sum(right[name]).as_py() for name in ("forwards", "backwards")) / len(images),
    }


def _passes(model: PreparedModel, images: NDArray[Any], tiles: pa.Table, attack: BoundedAttack) -> float:
    made = generate(model, images, tiles["label"].to_numpy(), attack)
    return float((made.forwards + made.backwards).mean())


def main() -> None:
    """Measure, and print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--storage", default="results")
    parser.add_argument("--models", type=int, default=0, help="the first N models only; 0: all")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    store = Store.open(options.storage)
    run = read_run(store, options.run)
    keys = {subject.id: subject.key for subject in run.subjects}
    tiles = {pairing.subject: pairing.tiles for pairing in run.pairings if pairing.protocol == "clean"}
    chosen = [pairing for pairing in run.pairings if pairing.role == "curve"][: options.models or None]
    console, rows = Console(), []
    table = Table("model", "tiles", "passes a tile, each radius alone", "sum", "cascade", "ratio")
    for pairing in chosen:
        clean = pa.concat_tables(store.iter_tables("tiles", tiles[pairing.subject], "test"))
        row = count_passes(pairing, keys[pairing.subject], clean, store)
        rows.append(row)
        alone = ", ".join(f"{each['passes']:.0f}" for each in row["alone"])
        total, cascade = row["alone_total"], row["cascade"]
        ratio = f"{total / cascade:.1f}" if cascade else "no pass"
        table.add_row(row["model"], str(row["tiles"]), alone, f"{total:.0f}", f"{cascade:.0f}", ratio)
        console.print(f"{row['model']}: {total:.0f} passes a tile alone, {cascade:.0f} as a cascade", highlight=False)
    console.print(table)
    if options.out:
        options.out.write_text(json.dumps({"run": run.name, "machine": machine(), "models": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
