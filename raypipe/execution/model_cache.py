"""Models and tiles of the store that a process loads and prepares once, and keeps while its cells need them."""

from collections.abc import Hashable, Mapping
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from raypipe.attacks.engine.generate import predict_tiles
from raypipe.attacks.engine.prepare import PreparedModel, prepare
from raypipe.data.tiles import decode_images
from raypipe.execution.adapt_network import Shape
from raypipe.execution.trial_records import read_trials, write_trials
from raypipe.models.artifacts import load_model
from raypipe.storage.store import Store

Positions = tuple[int, ...] | None


class ModelCache:
    """The model and the tiles that were requested last. The model is on this process's device.

    Parameters
    ----------
    store
        Store of the models.
    device
        Device of this process.
    batch_size
        Number of tiles per pass; None leaves it to `raypipe.attacks.engine.prepare.prepare`.
    in_memory
        Models on the device by key, which are not loaded from the store.
    """

    def __init__(
        self,
        store: Store,
        device: torch.device,
        batch_size: int | None = None,
        in_memory: Mapping[str, nn.Module] = MappingProxyType({}),
    ) -> None:
        self.store = store
        self.device = device
        self.batch_size = batch_size
        self.in_memory = in_memory
        self._network: tuple[str, nn.Module, Hashable] | None = None
        self._prepared: tuple[str, Shape, PreparedModel] | None = None
        self._clean_logits: dict[Hashable, NDArray[np.float32]] = {}
        self._batch_sizes: dict[tuple[Hashable, Shape], int] = {}
        self._tiles: tuple[tuple[str, Positions], pa.Table, NDArray[np.uint8] | None] | None = None

    def tiles(self, shard: str, positions: Positions) -> tuple[pa.Table, NDArray[np.uint8] | None]:
        """Return the table of a shard of tiles, and its images (n, h, w, channels), or None if it has no tiles.

        Consecutive cells often work on the same shard. The images must not be changed.

        Parameters
        ----------
        shard
            Path of the shard.
        positions
            Positions of the tiles to take; None takes all.
        """
        kept = self._tiles
        if kept is None or kept[0] != (shard, positions):
            table = self.store.read_table(shard)
            if positions is not None:
                table = table.take(list(positions))
            kept = (shard, positions), table, decode_images(table) if table.num_rows else None
            self._tiles = kept
        return kept[1:]

    def network(self, key: str) -> nn.Module:
        """Return the network of a model artifact."""
        return self._load(key)[0]

    def prepare(self, key: str, shape: Shape) -> PreparedModel:
        """Return the network prepared for attacks on tiles of a shape (channels, height, width).

        The store has the results of the trials that an earlier process ran on the same model, and gets those that it
        lacks. A model in memory is always tried, because its key does not cover its code. The batch size that is found
        for a backbone serves all its models: other weights take the same time.
        """
        if self._prepared is None or self._prepared[:2] != (key, shape):
            network, architecture = self._load(key)
            request = architecture, shape
            known = None if key in self.in_memory else read_trials(self.store, key, shape, self.device)
            size = self.batch_size or (known and known.batch_size) or self._batch_sizes.get(request)
            model = prepare(network, shape, device=self.device, batch_size=size, trials=known)
            found = model.trials
            if self.batch_size is None:
                self._batch_sizes[request] = model.batch_size
                found = found.model_copy(update={"batch_size": model.batch_size})
            if found != known:
                write_trials(self.store, key, shape, self.device, found)
            self._prepared = key, shape, model
            self._clean_logits = {}
        return self._prepared[2]

    def predict_clean(self, key: str, name: Hashable, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits (n, classes) of a model for unchanged tiles, which all attacks on them share.

        Parameters
        ----------
        key
            Key of the model.
        name
            Name of the tiles, by which their logits are found again while the model is kept.
        images
            (n, h, w, channels), uint8.
        """
        _, height, width, channels = images.shape
        model = self.prepare(key, (channels, height, width))
        if name not in self._clean_logits:
            self._clean_logits[name] = predict_tiles(model, images)
        return self._clean_logits[name]

    def _load(self, key: str) -> tuple[nn.Module, Hashable]:
        """Return the network of a model artifact, and what it shares with other models of its architecture."""
        if self._network is None or self._network[0] != key:
            if key in self.in_memory:
                self._network = key, self.in_memory[key], key
            else:
                classifier, card = load_model(self.store, key)
                self._network = key, classifier.to(self.device), (card.backbone, card.resize)
        return self._network[1:]
