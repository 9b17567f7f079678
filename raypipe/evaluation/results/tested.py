"""Stored predictions and adversarial tiles as arrays, tile by tile in one order: what every figure is computed from."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.evaluation.results.run import PairingRecord
from raypipe.evaluation.statistics.distortion import Norm
from raypipe.evaluation.statistics.metrics import predicted_labels
from raypipe.storage.schemas import ADVERSARIALS, CERTIFICATES, DIAGNOSTICS, PREDICTIONS
from raypipe.storage.store import Store

SCHEMAS = {
    "predictions": PREDICTIONS,
    "adversarials": ADVERSARIALS,
    "diagnostics": DIAGNOSTICS,
    "certificates": CERTIFICATES,
}
NORMS: tuple[Norm, ...] = ("l0", "l2", "linf")
READERS = 16
"""At once. A file of an object store takes tens of milliseconds to come, and next to nothing to read."""


@dataclass(frozen=True, eq=False)
class Tested:
    """What a model made of a set of tiles, sorted by their ids.

    Parameters
    ----------
    ids, groups
        (n,) of the tiles; a tile whose group is unknown is its own.
    labels
        (n,) true classes.
    logits
        (n, classes).
    """

    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the classes that the model says."""
        return predicted_labels(self.logits)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(n,) whether they are the true ones."""
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right

    def at(self, ids: NDArray[np.str_]) -> "Tested":
        """Some of the tiles.

        Raises
        ------
        ValueError
            If one of them was not tested.
        """
        places = np.searchsorted(self.ids, ids)
        if not len(self.ids) or (self.ids[np.minimum(places, len(self.ids) - 1)] != ids).any():
            raise ValueError(f"some of {len(ids)} tiles were not predicted: the run's artifacts do not belong together")
        return Tested(self.ids[places], self.groups[places], self.labels[places], self.logits[places])


@dataclass(frozen=True, eq=False)
class Perturbed:
    """Adversarial tiles as the attack recorded them, sorted by their ids.

    Parameters
    ----------
    ids
        (n,) of the tiles.
    clean_prediction, adversarial_prediction, success
        (n,) what the attacked model said of the clean and of the stored tile, and whether that is a success.
    distortions
        By norm: (n,) the size of the stored perturbation.
    float_success, float_l2
        (n,) the same of the perturbation before it was rounded to 8 bits.
    forwards, backwards, seconds
        (n,) spent.
    """

    ids: NDArray[np.str_]
    clean_prediction: NDArray[np.int64]
    adversarial_prediction: NDArray[np.int64]
    success: NDArray[np.bool_]
    distortions: dict[str, NDArray[np.float64]]
    float_success: NDArray[np.bool_]
    float_l2: NDArray[np.float64]
    forwards: NDArray[np.int64]
    backwards: NDArray[np.int64]
    seconds: NDArray[np.float64]


class Artifacts:
    """Reads a run's artifacts, each once.

    Parameters
    ----------
    store
        Where they are.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._tested: dict[str, Tested] = {}
        self._perturbed: dict[str, Perturbed] = {}

    def read_ahead(self, pairings: Iterable[PairingRecord]) -> None:
        """Read all that pairings name, many files at once; raises as `tested`."""
        by_predictions = {pairing.predictions: pairing for pairing in pairings}
        by_tiles = {pairing.tiles: pairing for pairing in pairings if pairing.threat}
        with ThreadPoolExecutor(READERS) as pool:
            for read in (pool.map(self.tested, by_predictions.values()), pool.map(self.perturbed, by_tiles.values())):
                for _ in read:
                    pass

    def tested(self, pairing: PairingRecord) -> Tested:
        """What the model of a pairing made of its tiles.

        Raises
        ------
        FileNotFoundError
            If the predictions are not there.
        ValueError
            If a tile was predicted twice, or none.
        """
        key = pairing.predictions
        if key not in self._tested:
            table = self._read("predictions", key, ["sample_id", "group_id", "label", "logits"])
            logits = np.stack(table["logits"].to_numpy())
            labels = table["label"].to_numpy()
            groups = pc.coalesce(table["group_id"], table["sample_id"])
            self._tested[key] = Tested(_strings(table["sample_id"]), _strings(groups), labels, logits)
        return self._tested[key]

    def perturbed(self, pairing: PairingRecord) -> Perturbed:
        """The adversarial tiles of a pairing; raises as `tested`."""
        key = pairing.tiles
        if key not in self._perturbed:
            names = ["clean_prediction", "adversarial_prediction", "success", "float_success", "float_l2"]
            names += ["forwards", "backwards", "seconds"]
            table = self._read("adversarials", key, ["sample_id", *NORMS, *names])
            distortions: dict[str, NDArray[np.float64]] = {
                norm: table[norm].to_numpy().astype(np.float64) for norm in NORMS
            }
            columns = {name: table[name].to_numpy() for name in names}
            self._perturbed[key] = Perturbed(_strings(table["sample_id"]), distortions=distortions, **columns)
        return self._perturbed[key]

    def device(self, pairing: PairingRecord) -> str | None:
        """What the attack ran on."""
        manifest = self.store.manifest("adversarials", pairing.tiles) or {}
        device: str | None = manifest.get("cost", {}).get("device")
        return device

    def diagnostics(self, key: str) -> pa.Table:
        """The diagnostics of a model; raises as `tested`."""
        return self._read("diagnostics", key, None)

    def certificates(self, key: str) -> pa.Table:
        """What is proved of a model; raises as `tested`."""
        return self._read("certificates", key, None)

    def _read(self, kind: str, key: str, columns: list[str] | None) -> pa.Table:
        if self.store.manifest(kind, key) is None:
            raise FileNotFoundError(
                f"{self.store.path(self.store.artifact(kind, key))} is not there: run the experiment again to make it"
            )
        found = list(self.store.iter_tables(kind, key, columns=columns, schema=SCHEMAS[kind]))
        table = pa.concat_tables(found or [SCHEMAS[kind].empty_table()]).sort_by("sample_id")
        if not table.num_rows:
            raise ValueError(f"{kind}/{key}: no tiles to compute figures from")
        if pc.count_distinct(table["sample_id"]).as_py() != table.num_rows:
            raise ValueError(f"{kind}/{key}: some tiles are there more than once")
        return table


def _strings(column: pa.ChunkedArray) -> NDArray[np.str_]:
    return np.array(column.to_pylist(), dtype=np.str_)
