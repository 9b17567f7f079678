"""Models of the store that a process loads and prepares once, and keeps while its cells need them."""

import functools

import torch

from raypipe.attacks.engine.prepare import PreparedModel, prepare
from raypipe.experiment.schema import Resources
from raypipe.models.artifacts import load_model
from raypipe.models.checkpoint import ModelCard
from raypipe.models.classifier import Classifier
from raypipe.stages.cluster import own_device
from raypipe.storage.store import Store


class ModelCache:
    """The model that was requested last, on this process's device.

    Parameters
    ----------
    store
        Store of the models.
    resources
        Resources of the experiment: a GPU or none for this process, its number of threads, and the settings that are
        left to trials.
    """

    def __init__(self, store: Store, resources: Resources) -> None:
        self.store = store
        self.resources = resources
        self.device = own_device(resources.gpu)
        torch.set_num_threads(max(1, int(resources.cpus_per_worker)))
        self._classifier: tuple[str, Classifier, ModelCard] | None = None
        self._prepared: tuple[str, PreparedModel] | None = None
        self._batch_sizes: dict[tuple[str, int | None, tuple[int, int, int]], int] = {}

    def classifier(self, key: str) -> Classifier:
        """Return the classifier of a model artifact."""
        return self._load(key)[0]

    def prepared(self, key: str, shape: tuple[int, int, int]) -> PreparedModel:
        """Return the classifier prepared for attacks on tiles of a shape (channels, height, width).

        The batch size that is found for a backbone serves all its models: other weights take the same time.
        """
        if self._prepared is None or self._prepared[0] != key:
            classifier, card = self._load(key)
            kind = card.backbone, card.resize, shape
            batch = self._batch_sizes.get(kind, self.resources.attack_batch)
            model = prepare(classifier, shape, device=self.device, batch_size=batch)
            self._batch_sizes[kind] = model.batch_size
            self._prepared = key, model
        return self._prepared[1]

    def _load(self, key: str) -> tuple[Classifier, ModelCard]:
        if self._classifier is None or self._classifier[0] != key:
            classifier, card = load_model(self.store, key)
            self._classifier = key, classifier.to(self.device), card
        return self._classifier[1:]


@functools.lru_cache(maxsize=1)
def models_of_this_process(store: Store, resources: Resources) -> ModelCache:
    """Return the models that this process holds. A task finds the model that an earlier task prepared."""
    return ModelCache(store, resources)
