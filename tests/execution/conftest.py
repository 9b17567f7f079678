"""A trained network, and a folder with it in every form, which several modules evaluate."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from raypipe.models.backbones import BACKBONES
from raypipe.models.checkpoint import ModelCard, save_classifier
from raypipe.models.classifier import Classifier
from tests.execution.one_model import CASES, HALF, NAMES, SIZE, batch, draw


@pytest.fixture(scope="session")
def trained() -> Classifier:
    images, labels = batch(96, first=1000)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Classifier(BACKBONES["convnet"].build(len(NAMES)), HALF, HALF)
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        for _ in range(25):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), torch.from_numpy(labels)).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def place(trained: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of tiles, and of the model in every form that the commands take."""
    folder = tmp_path_factory.mktemp("given")
    for label, name in enumerate(NAMES):
        (folder / "tiles" / name).mkdir(parents=True)
        for number in range(2 * CASES):
            Image.fromarray(draw(label, number)).save(folder / "tiles" / name / f"case{number // 2}-{number}.png")
    (folder / "tiles" / "dots" / "broken.png").write_bytes(b"no image")
    (folder / "exported").mkdir()
    # The order differs from that of the folders, so labels must be matched by name.
    card = ModelCard("convnet", NAMES, SIZE, HALF, HALF)
    (folder / "exported" / "model.safetensors").write_bytes(save_classifier(trained, card))
    torch.jit.save(torch.jit.trace(trained, torch.rand(1, 3, SIZE, SIZE)), folder / "model.pt")
    batches = ({0: torch.export.Dim("batch")},)
    torch.export.save(
        torch.export.export(trained, (torch.rand(2, 3, SIZE, SIZE),), dynamic_shapes=batches), folder / "model.pt2"
    )
    torch.save(trained.network.state_dict(), folder / "state.pth")
    (folder / "model.onnx").write_bytes(b"no ONNX")
    return folder
