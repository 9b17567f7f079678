"""The attack on one model and one set of tiles, and its figures."""

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import nn

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.generate import Adversarials, generate
from raypipe.attacks.engine.prepare import PreparedModel, prepare
from raypipe.attacks.engine.threat import get_threat_model
from raypipe.attacks.engine.victim import freeze
from raypipe.evaluation.results.tables import tabulate_adversarials
from raypipe.evaluation.statistics.intervals import METHOD, Interval, group_tiles, mean, ratio
from raypipe.report.sheet import Cell, Sheet
from raypipe.standalone.tiles import GivenTiles
from raypipe.storage.store import Store

PLAIN = re.compile(r"[^A-Za-z0-9_.-]")
LONGEST_STEM = 60


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's parameters."""
    return next(chain(network.parameters(), network.buffers()), torch.empty(0)).device


def logits_given(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Return the number of logits that a network gives for a tile of a shape (channels, height, width).

    Raises
    ------
    ValueError
        If the network takes no such tile, or gives no logits for it.
    """
    try:
        with freeze(network), torch.no_grad():
            logits = network(torch.zeros(1, *shape, device=device_of(network)))
    except Exception as error:  # the network is foreign code
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"the model does not take a float32 tile {(1, *shape)} ({type(error).__name__}: {reason}); give tiles of "
            "the size that it was made for (--size)"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != 1 or logits.shape[1] < 2:
        told = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"the model gives {told} for a tile, expected logits (1, classes), two classes or more")
    return int(logits.shape[1])


def ready(network: nn.Module, tiles: GivenTiles, batch_size: int | None) -> PreparedModel:
    """Prepare a network for attacks on tiles, after a check that its logits match their classes.

    Raises
    ------
    ValueError
        If the network takes no such tiles, or its number of logits differs from the number of classes.
    """
    _, height, width, channels = tiles.images.shape
    given = logits_given(network, (channels, height, width))
    if given != len(tiles.labels):
        raise ValueError(
            f"the model gives {given} logits, but there are {len(tiles.labels)} classes, {', '.join(tiles.labels)}: "
            "say all that it knows, in the order of its logits (--labels)"
        )
    return prepare(network, (channels, height, width), device=device_of(network), batch_size=batch_size)


ADVERSARIALS_FILE = "adversarials.parquet"


@dataclass(frozen=True, eq=False)
class Attacked:
    """The results of an attack on tiles.

    Parameters
    ----------
    tiles, settings, made
        The tiles, the attack's settings, and the adversarial tiles.
    device
        Type of the device that the attack ran on, such as ``cuda``.
    """

    tiles: GivenTiles
    settings: NamedAttack
    made: Adversarials
    device: str

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) True for tiles that were classified correctly before the attack, and were therefore attacked."""
        right: NDArray[np.bool_] = self.made.clean_prediction == self.tiles.truth
        return right

    def shares(self) -> dict[str, Interval]:
        """Return the accuracy before and after, and the share of attacked tiles fooled, with 95 % intervals."""
        groups = group_tiles(self.tiles.groups)
        standing = self.made.adversarial_prediction == self.tiles.truth
        return {
            "accuracy before": mean(self.right, groups),
            "accuracy after": mean(self.right & standing, groups),
            "success": ratio(self.made.success, self.right, groups),
        }


def attack_tiles(
    network: nn.Module, tiles: GivenTiles, settings: NamedAttack, batch_size: int | None = None
) -> Attacked:
    """Attack a model on its own device.

    Raises
    ------
    ValueError
        If model and tiles do not fit.
    """
    model = ready(network, tiles, batch_size)
    return Attacked(tiles, settings, generate(model, tiles.images, tiles.truth, settings), model.device.type)


def summary(attacked: Attacked, name: str) -> Sheet:
    """Return the figures of an attack as a sheet."""
    made, tiles = attacked.made, attacked.tiles
    sheet = Sheet(f"{attacked.settings.name} on {name}: {get_threat_model(attacked.settings)}")
    sheet.add_columns("")
    sheet.add_columns("figure", "95 % interval", figures=True)
    sheet.add_row("tiles", str(len(made.success)), "")
    sheet.add_row("source tiles", str(len(set(tiles.groups))), "")
    for share, (value, low, high) in attacked.shares().items():
        told = "-" if np.isnan(value) else f"{100 * value:.1f} %"
        sheet.add_row(share, told, "-" if np.isnan(low) else f"{100 * low:.1f} - {100 * high:.1f} %")
    for norm, sizes in (("l0", made.l0), ("l2", made.l2), ("linf", made.linf)):
        found = sizes[made.success]
        sheet.add_row(f"median {norm} of those fooled", f"{np.median(found):.4g}" if len(found) else "-", "")
    for passes in ("forwards", "backwards"):
        sheet.add_row(f"{passes} a tile", f"{getattr(made, passes).mean():.1f}", "")
    sheet.add_row("seconds", f"{made.seconds.sum():.1f}", Cell(attacked.device, tone="dim"))
    sheet.caption = (
        "Success is counted on the stored 8-bit pixels, of the tiles that were classified right. l0 counts values; l2 "
        "and linf have pixels in [0, 1]. "
        + ("" if pc.count_distinct(tiles.table["group_id"]).as_py() else "Source tiles are unknown: each is its own. ")
        + METHOD
    )
    return sheet


def write_attacked(attacked: Attacked, folder: Path) -> None:
    """Write the tables of clean and adversarial tiles, and the adversarial tiles as a class folder of PNGs.

    The folder ``images`` can serve as a data set again: the model's accuracy there is its accuracy after the attack.

    Parameters
    ----------
    folder
        An empty or new folder.
    """
    tiles = attacked.tiles
    table = tabulate_adversarials(tiles.table, attacked.made)
    store = Store.open(str(folder.absolute()))
    store.write_table("tiles.parquet", tiles.table)
    store.write_table("rejected.parquet", tiles.rejected)
    store.write_table(ADVERSARIALS_FILE, table)
    encoded = pc.struct_field(table["image"], "bytes").to_pylist()
    names = (tiles.table[name].to_pylist() for name in ("label_name", "source_path", "sample_id"))
    for label, source, name, data in zip(*names, encoded, strict=True):
        stem = PLAIN.sub("_", PurePosixPath(source).stem)[:LONGEST_STEM]
        target = folder / "images" / label / f"{stem}-{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
