"""Online adversarial training: it increases robust accuracy under attacks on the hardened model itself."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import kl_div

from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.norms import measure_sizes
from raypipe.attacks.engine.prepare import prepare
from raypipe.attacks.engine.victim import freeze
from raypipe.attacks.pgd import ProjectedGradient
from raypipe.data.reading.png import decode_png
from raypipe.defenses import DEFENSES
from raypipe.defenses.adversarial_weights import perturb_weights
from raypipe.defenses.inner_attack import build_misclassification, compute_input_gradients
from raypipe.defenses.online import OnlineTraining
from raypipe.defenses.pgd_training import PgdTraining
from raypipe.models.artifacts import load_model
from raypipe.models.classifier import build_classifier
from raypipe.models.weights import find_head_parameters
from raypipe.stages.train import _train_cell
from raypipe.stages.workers import SoleWorker
from raypipe.training.dataset import TileDataset
from raypipe.training.objective import StepLoss, cross_entropy
from raypipe.training.recipe import Recipe
from tests.defenses.laboratory import Laboratory

pytestmark = pytest.mark.xdist_group("laboratory")  # in one process, which draws its tiles once
EPS = 12 / 255
ONLINE: dict[str, dict[str, Any]] = {
    "fast_training": {"eps": EPS},
    "free_training": {"eps": EPS, "replays": 3},
    "mart": {"eps": EPS, "steps": 4},
    "pgd_training": {"eps": EPS, "steps": 4},
    "trades": {"eps": EPS, "steps": 4},
    "ddn_training": {"eps": 1.5, "iterations": 8, "epochs": 12, "learning_rate": 1e-3},
}


def training(name: str, **changes: Any) -> OnlineTraining:
    settings = {"epochs": 8, "learning_rate": 2e-3, **ONLINE[name], **changes}
    defense = DEFENSES[name].model_validate(settings)
    assert isinstance(defense, OnlineTraining)
    return defense


def robust_accuracy(model: nn.Module, laboratory: Laboratory, defense: OnlineTraining) -> float:
    """Return the robust accuracy under the project's PGD, counted on stored pixels."""
    images, labels = laboratory.test_tiles()
    prepared = prepare(model, (3, 32, 32), device="cpu", batch_size=16)
    attack = ProjectedGradient(norm=defense.norm, eps=defense.eps, max_iterations=20)
    return float((generate(prepared, images, labels, attack).adversarial_prediction == labels).mean())


@pytest.mark.parametrize("name", sorted(ONLINE))
def test_it_buys_robustness_at_the_eps_it_trains_for(name: str, laboratory: Laboratory) -> None:
    defense = training(name)
    before = robust_accuracy(laboratory.clean, laboratory, defense)
    after = robust_accuracy(laboratory.harden(defense), laboratory, defense)
    assert after >= before + 0.1, f"{before:.2f} -> {after:.2f}"


def divergence(model: nn.Module, images: Tensor, others: Tensor) -> float:
    """Return the mean divergence of the predictions of other tiles from those of the tiles."""
    with torch.no_grad():
        logits, changed = model(images), model(others)
    return float(kl_div(changed.log_softmax(1), logits.softmax(1), reduction="batchmean"))


@pytest.mark.parametrize("name", sorted(ONLINE))
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_training_tiles_stay_in_the_ball_and_cost_the_loss(name: str, norm: str, laboratory: Laboratory) -> None:
    if name == "ddn_training" and norm == "linf":
        pytest.skip("l2 only")
    defense = training(name, norm=norm, eps=EPS if norm == "linf" else 1.0)
    pixels, truth = laboratory.test_tiles()
    images, labels = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(truth)
    torch.manual_seed(0)
    with freeze(laboratory.clean) as victim:
        perturbed, _ = defense.perturb(victim, images, labels)
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1
    lengths = measure_sizes(perturbed - images, defense.norm)
    assert (lengths <= defense.eps + 1e-6).all()
    if name == "trades":  # its attack leads away from the clean predictions, whatever the label is
        noise = torch.randn_like(images).sign() if norm == "linf" else torch.randn_like(images)
        noise *= (lengths / measure_sizes(noise, defense.norm)).view(-1, 1, 1, 1)
        assert divergence(laboratory.clean, images, perturbed) > divergence(laboratory.clean, images, images + noise)
    elif name != "free_training":  # it only starts there
        before, after = (cross_entropy(laboratory.clean, each, labels, 0.0).loss for each in (images, perturbed))
        assert after > before


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_the_radius_rises_from_nothing_to_eps(one: float, other: float, early: float, late: float) -> None:
    begin, end = sorted((one, other))
    early, late = sorted((early, late))
    defense = PgdTraining(eps=EPS, eps_ramp=(begin, end))

    def radius(progress: float) -> float:
        now = defense.at(progress)
        return now.eps if now else 0.0

    assert 0 <= radius(early) <= radius(late) <= EPS
    assert radius(end) == EPS
    assert radius(begin) in {0, EPS}


@pytest.mark.parametrize("name", sorted(ONLINE))
def test_no_step_leaves_the_ball_of_its_moment(
    name: str, laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    defense = training(name, eps_ramp=(0.25, 0.75))
    pixels, truth = laboratory.test_tiles()
    images, labels = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(truth)
    shown = list[torch.Tensor]()
    loss = type(defense).compute_loss

    def watch(self: OnlineTraining, forward: Any, clean: torch.Tensor, perturbed: torch.Tensor, *rest: Any) -> StepLoss:
        shown.append(perturbed.detach())
        return loss(self, forward, clean, perturbed, *rest)

    monkeypatch.setattr(type(defense), "compute_loss", watch)
    model = copy.deepcopy(laboratory.clean).train()
    steps = defense.prepare_training(laboratory.clean, Recipe(), laboratory.clean)
    for progress, share in ((0.0, 0.0), (0.25, 0.0), (0.5, 0.5), (0.75, 1.0), (0.9, 1.0)):
        batch = images.clone()  # a new batch
        steps.objective(model, batch, labels, progress).loss.backward()
        longest = float(measure_sizes(shown[-1] - batch, defense.norm).max())
        assert longest <= share * defense.eps + 1e-6
        assert (longest > 0) == (share > 0)


def test_a_ramp_that_falls_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected two rising shares in \[0, 1\], got 0\.7 and 0\.2"):
        PgdTraining(eps_ramp=(0.7, 0.2))


def test_settings_without_a_ramp_keep_their_content_keys() -> None:
    assert "eps_ramp" not in PgdTraining().model_dump()
    assert PgdTraining(eps_ramp=(0, 0.5)).model_dump()["eps_ramp"] == (0, 0.5)


def test_the_best_epoch_on_held_out_tiles_is_kept(laboratory: Laboratory) -> None:
    """Use a learning rate that spoils the model sooner or later."""
    defense = training("pgd_training", epochs=4, learning_rate=0.2, early_stopping=True)
    hardened = laboratory.harden(defense)
    scores = [epoch["score"] for epoch in laboratory.history(defense)]
    assert defense.score(hardened, *laboratory.held_out()) == max(scores) > min(scores)
    last = laboratory.harden(defense, lost_after=3)
    assert defense.score(last, *laboratory.held_out()) == max(scores), "also where the fit was interrupted"


@pytest.mark.parametrize("start", ["undefended", "weights"])
def test_linear_probing_moves_the_head_alone(start: str, laboratory: Laboratory) -> None:
    """Let all steps probe: the body, with its batch statistics, stays that of the weights that the fit starts from."""
    hardened = laboratory.harden(training("fast_training", epochs=1, linear_probing=0.99, start=start))
    undefended, _ = load_model(laboratory.store, laboratory.trained.key)
    torch.manual_seed(laboratory.trained.spec.seed)
    fresh = build_classifier(laboratory.trained.spec.model, len(laboratory.trained.inputs["tiles"].spec.labels))
    begun, other = (undefended, fresh) if start == "undefended" else (fresh, undefended)
    head = {f"network.{name}" for name in find_head_parameters(laboratory.trained.spec.model.name)}
    states = [model.state_dict() for model in (hardened, begun, other)]
    assert head
    for name, tensor in states[0].items():
        if "num_batches_tracked" not in name and "running" not in name:
            assert torch.equal(tensor, states[1][name]) == (name not in head), name
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0].keys() - head)


def test_held_out_tiles_are_those_that_the_starting_model_never_saw(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that no image that either fit reads is one of those that early stopping is scored on."""
    read, scored = set[bytes](), list[bytes]()

    class Watched(TileDataset):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            read.add(self.images[index])
            return super().__getitem__(index)

    def score(self: OnlineTraining, model: nn.Module, images: Any, labels: Any) -> float:
        scored.extend(image.tobytes() for image in images)
        return 0.0

    defense = training("fast_training", epochs=1, early_stopping=True)
    monkeypatch.setattr(type(defense), "score", score)
    monkeypatch.setattr("raypipe.stages.fitting.validate", lambda *_: torch.ones(3, dtype=torch.float64))
    monkeypatch.setattr("raypipe.stages.fitting.TileDataset", Watched)
    again = dataclasses.replace(laboratory.trained, name="again")
    _train_cell(again, laboratory.store, SoleWorker(gpu=False), 0)
    laboratory.harden(defense)
    seen = {decode_png(image).tobytes() for image in read}
    assert len(scored) == len(set(scored)) >= 2
    assert seen
    assert not seen & set(scored)


def test_adversarial_weights_are_those_of_one_step_up_the_loss() -> None:
    """Compare manually on one layer: gamma times the length of the weights, along their gradient."""
    layer = nn.Linear(4, 3)
    inputs, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])

    def loss(forward: Any) -> StepLoss:
        logits = forward(inputs)
        return StepLoss(nn.functional.cross_entropy(logits, labels), logits)

    moved = perturb_weights(layer, loss, 0.1)
    (gradient,) = torch.autograd.grad(loss(layer).loss, layer.weight)
    weight = layer.weight + 0.1 * layer.weight.norm() / gradient.norm() * gradient
    expected = inputs @ weight.T + layer.bias
    torch.testing.assert_close(moved(inputs), expected)
    scored = loss(moved)
    scored.loss.backward()
    assert layer.weight.grad is not None
    assert scored.loss > loss(layer).loss
    at = weight.detach().requires_grad_()
    (there,) = torch.autograd.grad(nn.functional.cross_entropy(inputs @ at.T + layer.bias, labels), at)
    torch.testing.assert_close(layer.weight.grad, there, atol=1e-4, rtol=0.2)


def test_batch_statistics_are_those_of_what_is_trained_on() -> None:
    """Check that the inner attack and the step on the weights leave the statistics alone: one batch is one update."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).train()
    images, labels = torch.rand(6, 3, 8, 8), torch.tensor([0, 1] * 3)
    PgdTraining(steps=3, awp=0.01).prepare_training(model, Recipe(), model).objective(model, images, labels, 0.0)
    assert int(model[1].num_batches_tracked) == 1  # type: ignore[arg-type]
    assert model.training


@pytest.mark.parametrize(
    ("name", "changes", "passes"),
    [
        ("pgd_training", {"steps": 3}, 4),
        ("pgd_training", {"steps": 3, "awp": 0.01}, 5),
        ("fast_training", {}, 2),
        ("trades", {"steps": 3}, 5),
        ("free_training", {}, 1),
    ],
)
def test_passes_are_counted(name: str, changes: dict[str, Any], passes: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    model.register_forward_hook(count)
    scored = (
        training(name, **changes)
        .prepare_training(model, Recipe(), model)
        .objective(model, torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1]), 0.0)
    )
    assert scored.backwards == passes
    assert scored.forwards >= calls


def test_eps_is_that_of_scaled_pixels() -> None:
    assert PgdTraining().eps == pytest.approx(4 / 255)
    assert PgdTraining.model_validate({"norm": "l2"}).eps == 0.5
    with pytest.raises(ValueError, match="did you mean 8/255"):
        PgdTraining(eps=8)
    np.testing.assert_allclose(PgdTraining.model_validate({"eps": "8/255"}).eps, 8 / 255)


@pytest.mark.parametrize("gain", [1, 100, 300, 1000])
def test_a_network_that_is_sure_of_itself_keeps_its_inner_gradient_in_half_precision(gain: float) -> None:
    """Compare with the gradient in double precision; without scaling, from a gain of 300 on all tiles lose theirs."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)),
    )
    last = model[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight *= gain
        last.bias.zero_()
    images = torch.rand(8, 3, 16, 16).requires_grad_()
    labels = model(images).argmax(1)
    sure = copy.deepcopy(model).double()
    logits = sure(images.double())
    rival = logits.scatter(1, labels[:, None], -torch.inf).argmax(1, keepdim=True)  # it has the rest of the probability
    margins = (logits.gather(1, rival) - logits.gather(1, labels[:, None])).sum()
    (exact,) = torch.autograd.grad(margins if gain > 100 else build_misclassification(labels)(logits), images)
    with torch.autocast("cpu", dtype=torch.float16):
        found = compute_input_gradients(model(images), images, build_misclassification(labels))
    assert found.isfinite().all()
    agree = (found.sign() == exact.sign()).flatten(1).float().mean(1)
    assert (agree > 0.98).all(), agree


@pytest.mark.parametrize("loss", ["cross-entropy", "divergence"])
def test_scaled_inner_gradients_are_the_plain_ones_times_a_power_of_two(loss: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    images, labels = torch.rand(5, 3, 2, 2, dtype=torch.float64).requires_grad_(), torch.tensor([0, 1, 2, 3, 0])
    before = torch.rand(5, 4, dtype=torch.float64).softmax(1)
    losses = {
        "cross-entropy": build_misclassification(labels),
        "divergence": lambda logits: nn.functional.kl_div(logits.log_softmax(1), before, reduction="sum"),
    }
    (plain,) = torch.autograd.grad(losses[loss](model(images)), images)
    ratios = (compute_input_gradients(model(images), images, losses[loss]) / plain).flatten(1)
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios))
    torch.testing.assert_close(ratios.log2(), ratios.log2().round())
