"""Stored predictions and adversarial tiles as arrays, in one order of tiles. All figures are computed from them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.base.norms import STORED_NORMS
from raypipe.evaluation.results.run import CellRecord, PairingRecord
from raypipe.evaluation.statistics.metrics import predict_labels
from raypipe.storage.schemas import ADVERSARIALS, CERTIFICATES, CORRUPTED, DIAGNOSTICS, PERTURBED, PREDICTIONS
from raypipe.storage.store import SUMMARY_FACT, Store
from raypipe.storage.tables import stack_lists

SCHEMAS = {
    "predictions": PREDICTIONS,
    "adversarials": ADVERSARIALS,
    "diagnostics": DIAGNOSTICS,
    "certificates": CERTIFICATES,
    "corrupted": CORRUPTED,
    "perturbed": PERTURBED,
}


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's logits of a set of tiles, sorted by the tiles' ids.

    Parameters
    ----------
    ids, groups
        (n,) ids and groups of the tiles. A tile whose group is unknown is a group of its own.
    labels
        (n,) true classes.
    logits
        (n, classes) logits.
    """

    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) classes that the model predicts."""
        return predict_labels(self.logits)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(n,) True where the predicted class is the true one."""
        mask: NDArray[np.bool_] = self.predicted == self.labels
        return mask

    def at(self, ids: NDArray[np.str_]) -> "Predictions":
        """Return the logits of some of the tiles.

        Raises
        ------
        ValueError
            If one of them was not tested.
        """
        places = np.searchsorted(self.ids, ids)
        if not len(self.ids) or (self.ids[np.minimum(places, len(self.ids) - 1)] != ids).any():
            raise ValueError(f"some of {len(ids)} tiles were not predicted: the run's artifacts do not belong together")
        return Predictions(self.ids[places], self.groups[places], self.labels[places], self.logits[places])


@dataclass(frozen=True, eq=False)
class AdversarialTiles:
    """Adversarial tiles as the attack recorded them, sorted by their ids.

    Parameters
    ----------
    ids
        (n,) ids of the tiles.
    clean_prediction, adversarial_prediction, success
        (n,) classes that the attacked model predicts for the clean and for the stored tile, and True where the attack
        succeeded.
    distortions
        (n,) sizes of the stored perturbations, by norm.
    float_success, float_l2
        (n,) success and L2 size of the perturbation before it was rounded to 8 bits.
    forwards, backwards, seconds
        (n,) forward passes, backward passes and seconds of the attack.
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
    """A reader of a run's artifacts, which reads each of them once.

    Parameters
    ----------
    store
        Store that holds the artifacts.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._tested: dict[str, Predictions] = {}
        self._perturbed: dict[str, AdversarialTiles] = {}
        self._manifests: dict[tuple[str, str], dict[str, Any] | None] = {}

    def manifest(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the manifest of an artifact, or None if it does not exist. Each is read once."""
        if (kind, key) not in self._manifests:
            self._manifests[kind, key] = self.store.manifest(kind, key)
        return self._manifests[kind, key]

    def read_ahead(self, pairings: Iterable[PairingRecord], cells: Iterable[CellRecord] = ()) -> None:
        """Read all artifacts of some pairings, and the manifests of other cells, many files at once.

        Raises
        ------
        FileNotFoundError, ValueError
            See `read_predictions`.
        """
        by_predictions = {pairing.predictions: pairing for pairing in pairings}
        by_tiles = {pairing.tiles: pairing for pairing in by_predictions.values() if pairing.threat}
        self.store.ask_all(lambda cell: self.manifest(cell.kind, cell.key), cells)
        self.store.ask_all(self.read_predictions, by_predictions.values())
        self.store.ask_all(self.read_adversarials, by_tiles.values())

    def read_predictions(self, pairing: PairingRecord) -> Predictions:
        """Return the logits that the model of a pairing gives for its tiles.

        Raises
        ------
        FileNotFoundError
            If the predictions do not exist.
        ValueError
            If a tile was predicted twice, or if there are no tiles.
        """
        return self.read_logits(pairing.predictions)

    def read_logits(self, key: str) -> Predictions:
        """Return the logits of a predictions artifact.

        Raises
        ------
        FileNotFoundError, ValueError
            See `read_predictions`.
        """
        if key not in self._tested:
            table = self._read("predictions", key, ["sample_id", "group_id", "label", "logits"])
            logits = stack_lists(table["logits"])
            labels = table["label"].to_numpy()
            groups = pc.coalesce(table["group_id"], table["sample_id"])
            self._tested[key] = Predictions(_read_strings(table["sample_id"]), _read_strings(groups), labels, logits)
        return self._tested[key]

    def read_adversarials(self, pairing: PairingRecord) -> AdversarialTiles:
        """Return the adversarial tiles of a pairing.

        Raises
        ------
        FileNotFoundError, ValueError
            See `read_predictions`.
        """
        key = pairing.tiles
        if key not in self._perturbed:
            names = ["clean_prediction", "adversarial_prediction", "success", "float_success", "float_l2"]
            names += ["forwards", "backwards", "seconds"]
            table = self._read("adversarials", key, ["sample_id", *STORED_NORMS, *names])
            distortions: dict[str, NDArray[np.float64]] = {
                norm: table[norm].to_numpy().astype(np.float64) for norm in STORED_NORMS
            }
            columns = {name: table[name].to_numpy() for name in names}
            self._perturbed[key] = AdversarialTiles(
                _read_strings(table["sample_id"]), distortions=distortions, **columns
            )
        return self._perturbed[key]

    def read_queries(self, pairing: PairingRecord) -> NDArray[np.int64]:
        """Return the number of queries up to the first success for each tile, in the order of `read_adversarials`.

        It is 0 where the attack failed.

        Raises
        ------
        raypipe.storage.errors.StoreError
            If an older raypipe stored the tiles, without this number.
        """
        table = self._read("adversarials", pairing.tiles, ["sample_id", "queries"])
        counts: NDArray[np.int64] = table["queries"].to_numpy()
        return counts

    def read_device(self, pairing: PairingRecord) -> str | None:
        """Return the device that the attack ran on; None if it is not recorded."""
        manifest = self.manifest("adversarials", pairing.tiles) or {}
        device: str | None = manifest.get("cost", {}).get("device")
        return device

    def read_diagnostics(self, key: str) -> pa.Table:
        """Return the diagnostics of a model.

        Raises
        ------
        FileNotFoundError, ValueError
            See `read_predictions`.
        """
        return self._read("diagnostics", key, None)

    def read_certificates(self, key: str) -> pa.Table:
        """Return the certificates of a model.

        Raises
        ------
        FileNotFoundError, ValueError
            See `read_predictions`.
        """
        return self._read("certificates", key, None)

    def read_corrupted(self, key: str) -> pa.Table:
        """Return the predictions of a model for tiles with one corruption.

        Raises
        ------
        FileNotFoundError, ValueError
            See `read_predictions`.
        """
        return self._read("corrupted", key, None)

    def read_perturbed(self, key: str) -> pa.Table:
        """Return the predictions of a model for tiles with a universal perturbation.

        Raises
        ------
        FileNotFoundError, ValueError
            See `read_predictions`.
        """
        return self._read("perturbed", key, None)

    def _read(self, kind: str, key: str, columns: list[str] | None) -> pa.Table:
        manifest = self.manifest(kind, key)
        if manifest is None:
            raise FileNotFoundError(
                f"{self.store.path(self.store.artifact(kind, key))} does not exist: run the experiment again"
            )
        if manifest.get(SUMMARY_FACT):
            table = self.store.read_summary(kind, key, columns, SCHEMAS[kind])
        else:  # an older raypipe wrote it
            tables = list(self.store.iter_tables(kind, key, columns=columns, schema=SCHEMAS[kind]))
            table = pa.concat_tables(tables or [SCHEMAS[kind].empty_table()])
        if not table.num_rows:
            raise ValueError(f"{kind}/{key}: no tiles")
        ids = table["sample_id"].to_pylist()
        if len(set(ids)) < len(ids):
            raise ValueError(f"{kind}/{key}: some tiles occur more than once")
        return table if ids == sorted(ids) else table.sort_by("sample_id")


def _read_strings(column: pa.ChunkedArray) -> NDArray[np.str_]:
    return np.array(column.to_pylist(), dtype=np.str_)
