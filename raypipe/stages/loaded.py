"""The model that an actor holds: loaded once, and kept as long as its cells last."""

from torch import nn

from raypipe.stages.cluster import own_device
from raypipe.stages.fitting import load_model
from raypipe.store import Store


class ModelCache:
    """The last model that was asked for, on this actor's device.

    Parameters
    ----------
    store
        Where models are.
    gpu
        Whether this actor has a GPU.
    """

    def __init__(self, store: Store, gpu: bool) -> None:
        self.store = store
        self.device = own_device(gpu)
        self.key = ""
        self.model: nn.Module | None = None

    def get(self, key: str) -> nn.Module:
        """The classifier of a model artifact, in evaluation mode."""
        if self.model is None or key != self.key:
            self.model = load_model(self.store, key)[0].to(self.device)
            self.key = key
        return self.model
