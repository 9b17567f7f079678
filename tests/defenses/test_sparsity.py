"""Sparsity denoising: it starts as the network that it is added to, and drops values that are relatively small."""

from pathlib import Path

import numpy as np
import pytest
import torch

from raypipe.base.errors import ConfigError
from raypipe.defenses.sparsity_denoising import SparsityDenoising
from raypipe.evaluation.predict import predict
from raypipe.experiment.load import validate_experiment
from raypipe.models.backbones.sparsity import SparsityDenoising as Block
from raypipe.models.classifier import Model, build_classifier
from raypipe.stages.harden import _load_starting_point
from tests.defenses.laboratory import Laboratory

pytestmark = pytest.mark.xdist_group("laboratory")  # in one process, which draws its tiles once


def test_it_begins_as_the_clean_model(residual: Laboratory) -> None:
    start, card = _load_starting_point(residual.cell(SparsityDenoising()), residual.store)
    assert card.backbone == "resnet18_d"
    images, _ = residual.test_tiles()
    cpu = torch.device("cpu")
    np.testing.assert_allclose(predict(start, images, 16, cpu), predict(residual.clean, images, 16, cpu), atol=1e-5)


def test_the_block_keeps_what_is_large_and_drops_what_is_small() -> None:
    """Compare with a manual result: mean size 1, threshold softplus(-2) = 0.1269; the convolution is the identity."""
    block = Block(1)
    torch.nn.init.ones_(block.mix.weight)
    features = torch.tensor([0.05, -0.1, 1.85, -2.0]).view(1, 1, 2, 2)
    kept = block(features) - features
    torch.testing.assert_close(kept.flatten(), torch.tensor([0.0, 0.0, 1.7231, -1.8731]), atol=1e-4, rtol=0)


def test_published_weights_of_the_plain_network_fit(tmp_path: Path) -> None:
    path = f"{tmp_path}/plain.pth"
    plain = build_classifier(Model(name="resnet18"), 5)
    torch.save(plain.network.state_dict(), path)
    denoised = build_classifier(Model(name="resnet18_d", weights=path), 5)
    torch.testing.assert_close(denoised.network.layer4[1].conv2.weight, plain.network.layer4[1].conv2.weight)  # type: ignore[index, union-attr]


def test_other_networks_are_refused() -> None:
    raw = {"name": "t", "data": {"source": "synthetic"}, "models": ["googlenet"], "attacks": ["deepfool"]}
    with pytest.raises(ConfigError, match="denoising blocks go into resnet18 and resnet50, not googlenet"):
        validate_experiment({**raw, "defenses": ["sparsity_denoising"]})
