import pytest
import torch
from torch import nn

from raypipe.attacks.engine.victim import Victim, freeze


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))


def test_passes_are_counted_for_each_tile(model):
    with freeze(model):
        victim = Victim(model, tiles=4)
        images = torch.rand(2, 3, 2, 2, requires_grad=True)
        logits = victim.logits(images, torch.tensor([1, 3]))
        victim.gradient(logits.sum(), images, torch.tensor([3]))
        victim.logits(images[:1], torch.tensor([3]))
    assert victim.forwards.tolist() == [0, 1, 0, 2]
    assert victim.backwards.tolist() == [0, 0, 0, 1]


def test_the_gradient_is_that_of_the_objective(model):
    weights = torch.rand(2, 3, 2, 2)
    images = torch.rand(2, 3, 2, 2, requires_grad=True)
    victim = Victim(model, tiles=2)
    objective = (weights * images.square()).sum()
    first = victim.gradient(objective, images, victim.rows(), retain_graph=True)
    again = victim.gradient(objective, images, victim.rows())
    torch.testing.assert_close(first, 2 * weights * images.detach())
    torch.testing.assert_close(again, first)
    assert images.grad is None


def test_an_objective_without_a_graph_has_no_gradient(model):
    images = torch.rand(2, 3, 2, 2, requires_grad=True)
    gradient = Victim(model, tiles=2).gradient(torch.tensor(1.0), images, torch.arange(2))
    assert not gradient.any()


def test_a_model_with_one_output_is_refused():
    victim = Victim(nn.Sequential(nn.Flatten(), nn.Linear(12, 1)), tiles=2)
    with pytest.raises(ValueError, match=r"gives \(2, 1\): expected \(n, classes\) logits, at least 2"):
        victim.logits(torch.rand(2, 3, 2, 2), victim.rows())


def test_frozen_gives_the_model_back_after_an_exception(model):
    model.train()
    model[2].eval()
    model[1].bias.requires_grad_(False)
    grad = torch.ones(3)
    model[3].bias.grad = grad

    def use():
        with freeze(model) as inside:
            assert not any(module.training for module in inside.modules())
            assert not any(parameter.requires_grad for parameter in inside.parameters())
            assert all(parameter.grad is None for parameter in inside.parameters())
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        use()
    assert [module.training for module in model.modules()] == [True, True, True, False, True]
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, False, True, True, True, True]
    assert model[3].bias.grad is grad


def test_frozen_has_gradients_inside_no_grad(model):
    images = torch.rand(2, 3, 2, 2, requires_grad=True)
    with torch.no_grad(), freeze(model):
        victim = Victim(model, tiles=2)
        assert victim.gradient(victim.logits(images, victim.rows())[:, 0].sum(), images, victim.rows()).any()
