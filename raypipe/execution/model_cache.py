"""Models of the store that a process loads and prepares once, and keeps while its cells need them."""

from collections.abc import Hashable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from raypipe.attacks.engine.generate import predict_tiles
from raypipe.attacks.engine.prepare import PreparedModel, prepare
from raypipe.models.artifacts import load_model
from raypipe.storage.store import Store


class ModelCache:
    """The model that was requested last, on this process's device.

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
        self._prepared: tuple[str, PreparedModel] | None = None
        self._clean_logits: dict[Hashable, NDArray[np.float32]] = {}
        self._batch_sizes: dict[tuple[Hashable, tuple[int, int, int]], int] = {}

    def network(self, key: str) -> nn.Module:
        """Return the network of a model artifact."""
        return self._load(key)[0]

    def prepare(self, key: str, shape: tuple[int, int, int]) -> PreparedModel:
        """Return the network prepared for attacks on tiles of a shape (channels, height, width).

        The batch size that is found for a backbone serves all its models: other weights take the same time.
        """
        if self._prepared is None or self._prepared[0] != key:
            network, architecture = self._load(key)
            request = architecture, shape
            model = prepare(
                network, shape, device=self.device, batch_size=self._batch_sizes.get(request, self.batch_size)
            )
            self._batch_sizes[request] = model.batch_size
            self._prepared = key, model
            self._clean_logits = {}
        return self._prepared[1]

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
