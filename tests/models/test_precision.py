"""Float32 arithmetic with full precision, wherever predictions are verified, stored or compared."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.prepare import prepare
from raypipe.attacks.fgsm import FastGradient
from raypipe.attacks.pgd import ProjectedGradient
from raypipe.evaluation.checks.planted import run_binarization_test
from raypipe.evaluation.checks.probe import probe
from raypipe.evaluation.predict import predict
from raypipe.models.precision import full_precision

CPU = torch.device("cpu")


def switches() -> list[str]:
    backends = torch.backends
    return [
        backends.cuda.matmul.fp32_precision,
        backends.cudnn.conv.fp32_precision,
        backends.cudnn.rnn.fp32_precision,
        backends.mkldnn.matmul.fp32_precision,
        backends.mkldnn.conv.fp32_precision,
        backends.mkldnn.rnn.fp32_precision,
    ]


@pytest.fixture(autouse=True)
def fast_matrices() -> Iterator[list[str]]:
    """Let this process multiply matrices with fewer digits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield switches()
    torch.set_float32_matmul_precision(before)


def test_all_switches_are_off_inside_and_restored_outside(fast_matrices: list[str]) -> None:
    assert "tf32" in fast_matrices
    with full_precision():
        assert set(switches()) == {"ieee"}
        with full_precision():
            assert set(switches()) == {"ieee"}
        assert set(switches()) == {"ieee"}
    assert switches() == fast_matrices
    assert torch.get_float32_matmul_precision() == "high"


def test_an_error_restores_them_too(fast_matrices: list[str]) -> None:
    with pytest.raises(RuntimeError), full_precision():
        raise RuntimeError
    assert switches() == fast_matrices


class Watched(nn.Module):
    """A linear model that records the precision switches in each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, 3)
        self.seen: list[str] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen += switches()
        return self.layer(images.flatten(1))


IMAGES, LABELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8), np.arange(4) % 3


def attack(model: nn.Module) -> None:
    generate(prepare(model, (3, 8, 8), device=CPU, batch_size=4), IMAGES, LABELS, FastGradient())
    model.seen = model.seen[-12:]  # without the trials, which verify nothing


@pytest.mark.parametrize(
    "use",
    [
        lambda model: predict(model, IMAGES, 2, CPU),
        lambda model: probe(model, IMAGES, LABELS, 2, CPU),
        lambda model: run_binarization_test(model, IMAGES[:2], ProjectedGradient(max_iterations=2), 8, CPU),
        attack,
    ],
    ids=["predictions", "probe", "planted examples", "stored tiles"],
)
def test_what_figures_rest_on_is_computed_in_full_precision(
    fast_matrices: list[str], use: Callable[[nn.Module], object]
) -> None:
    model = Watched()
    use(model)
    assert set(model.seen) == {"ieee"}
    assert switches() == fast_matrices
