"""Networks without initial weights get the stored ones, and nothing else is lost."""

import pytest
import torch
from torch import Tensor, nn

from raypipe.models.backbones.lookup import get_backbone
from raypipe.models.uninitialized import build_uninitialized


class Fixed(nn.Module):
    """A network with a tensor that its state does not contain."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        scale = torch.full((2,), 3.0)
        if kind == "buffer":
            self.register_buffer("scale", scale, persistent=False)
        elif kind == "attribute":
            self.scale = scale
        else:
            self.register_buffer("scale", scale * float(scale.sum()) / 6)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.layer(images) * self.scale
        return found


@pytest.mark.parametrize("kind", ["buffer", "attribute", "value"])
def test_tensors_beside_the_state_keep_their_values(kind: str) -> None:
    network = build_uninitialized(lambda: Fixed(kind))
    assert torch.equal(network.scale, torch.full((2,), 3.0))


@pytest.mark.parametrize("name", ["shufflenet_v2_x1_0", "googlenet", "timm:mobilenetv3_small_050"])
def test_a_network_computes_the_same_with_loaded_weights(name: str) -> None:
    torch.manual_seed(0)
    usual = get_backbone(name).build(3).eval()
    network = build_uninitialized(lambda: get_backbone(name).build(3)).eval()
    network.load_state_dict(usual.state_dict())
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(network(images), usual(images))
    assert [parameter.requires_grad for parameter in network.parameters()] == [
        parameter.requires_grad for parameter in usual.parameters()
    ]
