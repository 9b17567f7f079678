import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from raypipe.evaluation.checks.evidence import Probe
from raypipe.evaluation.checks.probe import probe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def probes(tested) -> dict[str, Probe]:
    return {name: probe(model, tested.images, tested.labels, 8, CPU) for name, model in tested.models.items()}


def test_gradients_of_a_linear_model_are_in_closed_form() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    labels = np.array([0, 1, 2, 0, 1])
    seen = probe(model, images, labels, 2, CPU)
    weights = model[1].weight.detach().double().numpy()
    logits = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).detach().double().numpy()
    for at, label in enumerate(labels):
        chances = np.exp(logits[at]) / np.exp(logits[at]).sum()
        toward = (chances[:, None] * weights).sum(0) - weights[label]
        assert seen.cross_entropy_gradient[at] == pytest.approx(np.linalg.norm(toward), rel=1e-4)
        # The log odds are the cross-entropy's logit, so its gradient is divided by the chance of being wrong.
        assert seen.log_odds_gradient[at] == pytest.approx(np.linalg.norm(toward) / (1 - chances[label]), rel=1e-4)
    np.testing.assert_allclose(seen.spread, np.ptp(logits, axis=1), rtol=1e-4)


def test_an_undefended_model_shows_its_gradients(probes) -> None:
    seen = probes["undefended"]
    assert seen.finite.all()
    assert (seen.log_odds_gradient > 0.1).all()
    assert (seen.cross_entropy_gradient > 0).all()
    assert (seen.zero_share < 0.1).all()
    assert (seen.repeat_difference == 0).all()
    assert (seen.batch_difference <= 1e-5 * seen.spread).all()


def test_rounding_leaves_no_gradient(probes) -> None:
    seen = probes["quantized"]
    assert (seen.log_odds_gradient == 0).all()
    assert (seen.cross_entropy_gradient == 0).all()
    assert (seen.zero_share == 1).all()
    assert seen.finite.all()


def test_overconfidence_blinds_the_cross_entropy_only(probes) -> None:
    seen = probes["overconfident"]
    assert (seen.cross_entropy_gradient == 0).mean() > 0.9
    assert (seen.log_odds_gradient > 1e3 * probes["undefended"].log_odds_gradient).all()


def test_noise_shows_in_a_second_pass(probes) -> None:
    seen = probes["noisy"]
    assert (seen.repeat_difference > 1e-3 * seen.spread).all()


def test_a_model_that_mixes_its_batch_shows(tested) -> None:
    class Centered(nn.Module):
        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            return logits - logits.mean(0)

    model = nn.Sequential(tested.models["undefended"], Centered())
    seen = probe(model, tested.images, tested.labels, 8, CPU)
    assert (seen.repeat_difference == 0).all()
    assert (seen.batch_difference > 0.1).all()


def test_what_is_not_finite_or_not_differentiable_is_reported() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            bright = images.flatten(1).mean(1)
            return torch.stack([bright, torch.where(bright > 0.5, torch.nan, -bright)], dim=1)

    class Hard(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return F.one_hot((images.flatten(1).mean(1) > 0.5).long(), 2).float()

    images = np.stack([np.full((4, 4, 3), value, dtype=np.uint8) for value in (0, 255, 10)])
    labels = np.zeros(3, dtype=np.int64)
    assert probe(Broken(), images, labels, 2, CPU).finite.tolist() == [True, False, True]
    hard = probe(Hard(), images, labels, 2, CPU)
    assert hard.finite.all()
    assert (hard.zero_share == 1).all()


def test_passes_are_counted_and_the_model_is_left_as_it_was(tested) -> None:
    model = tested.models["undefended"]
    before = {name: values.clone() for name, values in model.state_dict().items()}
    model.train()
    calls = []
    hook = model.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    seen = probe(model, tested.images, tested.labels, 8, CPU)
    hook.remove()
    assert sum(calls) == seen.forwards.sum() == 3 * len(tested.images)
    assert seen.backwards.tolist() == [2] * len(tested.images)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_what_does_not_fit_is_refused(tested) -> None:
    model = tested.models["undefended"]
    with pytest.raises(ValueError, match=r"labels \(31,\): expected uint8"):
        probe(model, tested.images, tested.labels[1:], 8, CPU)
    with pytest.raises(ValueError, match="batch_size = 1: expected at least 2"):
        probe(model, tested.images, tested.labels, 1, CPU)
