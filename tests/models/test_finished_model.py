"""The content of a finished model, which decides what cached results are reused."""

import torch
from torch import nn

from raypipe.models.finished_model import hash_content


class Packed(nn.Linear):
    """A layer with state that is no tensor, as quantized layers have."""

    def __init__(self, packed: object) -> None:
        super().__init__(2, 2)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        self.packed = packed

    def get_extra_state(self) -> object:
        return self.packed


def test_packed_weights_are_part_of_the_content() -> None:
    def packed(weight: float) -> object:
        return torch.quantize_per_tensor(torch.tensor([weight]), 0.1, 0, torch.qint8), torch.qint8

    first, again, other = (hash_content(Packed(packed(weight))) for weight in (0.5, 0.5, 0.7))
    assert first == again
    assert first != other
