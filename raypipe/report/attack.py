"""The figures of one attack on one model, as a table and for other programs."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.threat import get_threat_model
from raypipe.base.norms import STORED_NORMS
from raypipe.evaluation.statistics.intervals import METHOD, Interval, estimate_mean, estimate_ratio, group_tiles
from raypipe.report.sheet import Cell, Sheet

SHARES = ("accuracy_before", "accuracy_after", "success")
PARTS = ("value", "low", "high")
"""Parts of a share with its 95 % interval."""


def tabulate_attack(table: pa.Table, settings: NamedAttack, model: str, device: str) -> Sheet:
    """Return the figures of an attack.

    Parameters
    ----------
    table
        Adversarial tiles: see `raypipe.storage.schemas.ADVERSARIALS`.
    settings
        Settings of the attack.
    model, device
        Name of the model, and type of the device that it was attacked on.
    """
    found = summarize_attack(table)
    sheet = Sheet(f"{settings.name} on {model}: {get_threat_model(settings)}")
    sheet.add_columns("")
    sheet.add_columns("figure", "95 % interval", figures=True)
    sheet.add_row("tiles", str(found["tiles"]), "")
    sheet.add_row("source tiles", str(found["source_tiles"]), "")
    for name in SHARES:
        value, low, high = (found[name][part] for part in ("value", "low", "high"))
        shown = "-" if value is None else f"{100 * value:.1f} %"
        sheet.add_row(name.replace("_", " "), shown, "-" if low is None else f"{100 * low:.1f} - {100 * high:.1f} %")
    for norm, size in found["median_of_successful"].items():
        sheet.add_row(f"median {norm} of successful tiles", "-" if size is None else f"{size:.4g}", "")
    for name in ("forward", "backward"):
        sheet.add_row(f"{name} passes per tile", f"{found[f'{name}_passes_per_tile']:.1f}", "")
    sheet.add_row("seconds", f"{found['seconds']:.1f}", Cell(device, tone="dim"))
    unknown = table["group_id"].null_count
    whose = "Source tiles are unknown" if unknown == table.num_rows else f"{unknown} tiles have no known source tile"
    sheet.caption = (
        "Success is counted on the stored 8-bit pixels, for tiles that were classified correctly. l0 counts changed "
        "channel values; l2 and linf have pixels in [0, 1]. "
        + (f"{whose}: each is its own group. " if unknown else "")
        + METHOD
    )
    return sheet


def summarize_attack(table: pa.Table) -> dict[str, Any]:
    """Return the figures of an attack for other programs; shares and sizes are None where they are undefined.

    Parameters
    ----------
    table
        Adversarial tiles: see `raypipe.storage.schemas.ADVERSARIALS`.
    """
    success = table["success"].to_numpy()
    groups = pc.coalesce(table["group_id"], table["sample_id"]).to_pylist()
    sizes = {norm: table[norm].to_numpy()[success] for norm in STORED_NORMS}
    shares = {
        name: {part: None if np.isnan(figure) else float(figure) for part, figure in zip(PARTS, found, strict=True)}
        for name, found in _estimate_shares(table, groups).items()
    }
    return {
        "tiles": table.num_rows,
        "source_tiles": len(set(groups)),
        **shares,
        "median_of_successful": {norm: float(np.median(each)) if len(each) else None for norm, each in sizes.items()},
        "forward_passes_per_tile": float(table["forwards"].to_numpy().mean()),
        "backward_passes_per_tile": float(table["backwards"].to_numpy().mean()),
        "seconds": float(table["seconds"].to_numpy().sum()),
    }


def _estimate_shares(table: pa.Table, groups: list[str]) -> dict[str, Interval]:
    """Return the accuracy before and after, and the share of attacked tiles fooled, with 95 % intervals."""
    truth = table["label"].to_numpy()
    right = table["clean_prediction"].to_numpy() == truth
    robust = table["adversarial_prediction"].to_numpy() == truth
    clusters = group_tiles(groups)
    return {
        "accuracy_before": estimate_mean(right, clusters),
        "accuracy_after": estimate_mean(right & robust, clusters),
        "success": estimate_ratio(table["success"].to_numpy(), right, clusters),
    }
