"""A second loss under the batch statistics that the fit starts with."""

from copy import deepcopy

import torch
from torch import nn

from raypipe.defenses.fast_training import FastTraining
from raypipe.defenses.frozen_statistics import freeze_statistics, normalize_by
from raypipe.defenses.pgd_training import PgdTraining
from raypipe.training.recipe import Recipe


def network() -> nn.Sequential:
    """Return a network whose statistics are those of other inputs than the tests' own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).train()
    with torch.no_grad():
        for _ in range(20):
            model(0.2 * torch.rand(16, 3, 8, 8))
    return model


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(6, 3, 8, 8), torch.tensor([0, 1] * 3)


def test_the_function_is_the_starting_network_in_evaluation_mode() -> None:
    model = network()
    start = deepcopy(model).eval()
    statistics = freeze_statistics(start)
    images, _ = batch()
    model(images)  # moves the network's own statistics
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    torch.testing.assert_close(normalize_by(statistics, model)(images), start(images))
    assert model[1].training
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, before[name])


def test_both_losses_reach_the_weights() -> None:
    """Compare the gradient of a step with the sum of the gradients of both parts."""
    model = network()
    start = deepcopy(model)
    images, labels = batch()
    defense = PgdTraining(eps_ramp=(0.5, 0.5), frozen_statistics=0.5)  # no attack at the beginning: the parts are plain
    scored = defense.prepare_training(start, Recipe(), start).objective(model, images, labels, 0.0)
    scored.loss.backward()
    found = [parameter.grad for parameter in model.parameters()]

    plain, frozen = deepcopy(start).train(), deepcopy(start).eval()
    nn.functional.cross_entropy(plain(images), labels).backward()
    (0.5 * nn.functional.cross_entropy(frozen(images), labels)).backward()
    for gradient, one, other in zip(found, plain.parameters(), frozen.parameters(), strict=True):
        assert gradient is not None
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(gradient, one.grad + other.grad)
    assert scored.forwards == scored.backwards == 2


def test_the_network_under_test_has_the_statistics_of_its_tiles() -> None:
    """Check that a step moves the network's own statistics once, as without the second loss."""
    plain, twin = network(), network()
    images, labels = batch()
    for model, weight in ((plain, 0.0), (twin, 1.0)):
        torch.manual_seed(0)  # the attack starts from a random point
        defense = FastTraining(frozen_statistics=weight)
        defense.prepare_training(model, Recipe(), model).objective(model, images, labels, 0.5)
    torch.testing.assert_close(plain[1].running_mean, twin[1].running_mean)
    torch.testing.assert_close(plain[1].running_var, twin[1].running_var)
