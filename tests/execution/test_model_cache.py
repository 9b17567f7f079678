"""Models and predictions that a process keeps while its cells need them."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from raypipe.execution.model_cache import ModelCache
from raypipe.storage.store import Store

KEY = "0123456789abcdef"


class Counting(nn.Module):
    """A linear network that counts the tiles that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read_out = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
        self.tiles = 0

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        self.tiles += len(images)
        return self.read_out(images)


def test_attacks_on_the_same_tiles_share_the_predictions_of_the_unchanged_tiles(tmp_path: Path) -> None:
    network = Counting()
    models = ModelCache(Store.open(str(tmp_path)), torch.device("cpu"), 4, {KEY: network})
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    first = models.predict_clean(KEY, ("shard", None), images)
    shown = network.tiles
    np.testing.assert_array_equal(models.predict_clean(KEY, ("shard", None), images), first)
    assert network.tiles == shown
    others = models.predict_clean(KEY, ("shard", (1, 3)), images[[1, 3]])
    assert network.tiles == shown + 2
    np.testing.assert_allclose(others, first[[1, 3]], rtol=1e-5)
