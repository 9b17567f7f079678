"""Errors at the completion of a cell, after its work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import raypipe
from raypipe.base.errors import StageError
from raypipe.plan.cells import Cell
from raypipe.storage.errors import StoreError


def test_a_manifest_that_cannot_be_written_is_told_like_a_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Cell.publish

    def fail(self: Cell, *arguments: Any, **facts: Any) -> None:
        if self.stage == "attack":
            raise StoreError("cannot write there: No space left on device")
        publish(self, *arguments, **facts)

    monkeypatch.setattr(Cell, "publish", fail)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    with pytest.raises(StageError, match=r"^attack failed: \S*fgsm\S*: StoreError: cannot write there: No space left"):
        raypipe.evaluate(
            model, images, np.arange(4) % 2, ["fgsm"], to=str(tmp_path), autoattack=None, checks=None, curves={}
        )
