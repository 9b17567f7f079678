"""Steps in which only the head of a network learns."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from raypipe.models.weights import find_head_parameters
from raypipe.training.fit import Fit
from raypipe.training.linear_probing import LinearProbing
from raypipe.training.recipe import Recipe
from tests.training.test_fit import CPU, dataset, network

HEAD = ("5.weight", "5.bias")


def test_the_body_waits_and_then_learns() -> None:
    """Probe for 6 of 12 steps: after two epochs only the head has moved, after four everything has."""
    model = network()
    begun = deepcopy(model.state_dict())
    fit = Fit(model, Recipe(epochs=4, batch_size=8), 3, device=CPU, seed=7, probing=0.5, head=HEAD)
    for epoch, _ in enumerate(fit.epochs(dataset(), 8), 1):
        moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, begun[name])}
        if epoch == 2:
            assert moved == set(HEAD), "neither weight decay nor momentum nor statistics move the body"
    assert moved == set(begun)


def test_without_probing_nothing_waits() -> None:
    model = network()
    begun = deepcopy(model.state_dict())
    fit = Fit(model, Recipe(epochs=1, batch_size=8), 3, device=CPU, seed=7)
    list(fit.epochs(dataset(), 8))
    assert not [name for name, tensor in model.state_dict().items() if torch.equal(tensor, begun[name])]


def test_a_network_without_a_head_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameters whose shape depends on the number of classes"):
        LinearProbing(nn.Linear(2, 2), {"head.weight"}, 3)


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("resnet18", {"fc.weight", "fc.bias"}),
        ("googlenet", {"fc.weight", "fc.bias", "aux1.fc2.weight", "aux1.fc2.bias", "aux2.fc2.weight", "aux2.fc2.bias"}),
        ("densenet121", {"classifier.weight", "classifier.bias"}),
    ],
)
def test_the_head_is_what_depends_on_the_number_of_classes(backbone: str, head: set[str]) -> None:
    assert find_head_parameters(backbone) == head
