"""The figures of one attack on one model, as a table."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.threat import get_threat_model
from raypipe.base.norms import STORED_NORMS
from raypipe.evaluation.statistics.intervals import METHOD, Interval, group_tiles, mean, ratio
from raypipe.report.sheet import Cell, Sheet


def attack_sheet(table: pa.Table, settings: NamedAttack, model: str, device: str) -> Sheet:
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
    success = table["success"].to_numpy()
    groups = pc.coalesce(table["group_id"], table["sample_id"]).to_pylist()
    sheet = Sheet(f"{settings.name} on {model}: {get_threat_model(settings)}")
    sheet.add_columns("")
    sheet.add_columns("figure", "95 % interval", figures=True)
    sheet.add_row("tiles", str(table.num_rows), "")
    sheet.add_row("source tiles", str(len(set(groups))), "")
    for name, (value, low, high) in _shares(table, groups).items():
        shown = "-" if np.isnan(value) else f"{100 * value:.1f} %"
        sheet.add_row(name, shown, "-" if np.isnan(low) else f"{100 * low:.1f} - {100 * high:.1f} %")
    for norm in STORED_NORMS:
        sizes = table[norm].to_numpy()[success]
        sheet.add_row(f"median {norm} of successful tiles", f"{np.median(sizes):.4g}" if len(sizes) else "-", "")
    for passes, name in (("forwards", "forward"), ("backwards", "backward")):
        sheet.add_row(f"{name} passes per tile", f"{table[passes].to_numpy().mean():.1f}", "")
    sheet.add_row("seconds", f"{table['seconds'].to_numpy().sum():.1f}", Cell(device, tone="dim"))
    unknown = table["group_id"].null_count
    whose = "Source tiles are unknown" if unknown == table.num_rows else f"{unknown} tiles have no known source tile"
    sheet.caption = (
        "Success is counted on the stored 8-bit pixels, for tiles that were classified correctly. l0 counts changed "
        "channel values; l2 and linf have pixels in [0, 1]. "
        + (f"{whose}: each is its own group. " if unknown else "")
        + METHOD
    )
    return sheet


def _shares(table: pa.Table, groups: list[str]) -> dict[str, Interval]:
    """Return the accuracy before and after, and the share of attacked tiles fooled, with 95 % intervals."""
    truth = table["label"].to_numpy()
    right = table["clean_prediction"].to_numpy() == truth
    robust = table["adversarial_prediction"].to_numpy() == truth
    clusters = group_tiles(groups)
    return {
        "accuracy before": mean(right, clusters),
        "accuracy after": mean(right & robust, clusters),
        "success": ratio(table["success"].to_numpy(), right, clusters),
    }
