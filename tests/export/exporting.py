"""A stored run with models, for tests of what is exported from it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.run import Run
from raypipe.export.write import Export
from raypipe.models.backbones.lookup import get_backbone
from raypipe.models.checkpoint import ModelCard, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.models.model_file import MODEL_FILE
from raypipe.models.transforms.base import InputTransform
from raypipe.models.transforms.bit_depth import BitDepth
from raypipe.models.transforms.gan_projection import GanProjection
from raypipe.models.transforms.gaussian_smoothing import GaussianSmoothing
from raypipe.storage.store import MANIFEST, Store
from tests.evaluation.handmade import hand_run

TRANSFORMS: dict[str, InputTransform | None] = {
    "none": None,
    "bit depth": BitDepth(bits=3),
    "smoothing": GaussianSmoothing(sigma=0.1, samples=3),
    "gan": GanProjection(latent=4, channels=4, finest=16, restarts=1, steps=1, step_size=1.0),
}
TILES = {
    "split": "paper", "leakage": 0.25, "synthetic": True, "rejected": 0,
    "counts": {"train": {"cancer": 6, "benign": 5}, "test": {"cancer": 4, "benign": 4}},
}  # fmt: skip
EXPERIMENT: dict[str, Any] = {
    "name": "hand", "data": {"source": "folder", "path": "/home/somebody/tiles"},
    "defenses": {"at": {"name": "adversarial_training", "epochs": 3}},
}  # fmt: skip


def classifier(
    backbone: str,
    transform: InputTransform | None = None,
    labels: tuple[str, ...] = ("cancer", "benign"),
    resize: int | None = None,
) -> Any:
    """Return a network with its own statistics, and logits that differ between tiles."""
    torch.manual_seed(0)
    model = Classifier(get_backbone(backbone).build(len(labels)), (0.4, 0.5, 0.6), (0.3, 0.2, 0.1), transform, resize)
    model.train()
    model.network(torch.randn(16, 3, 32, 32))
    return model.eval(), ModelCard(backbone, labels, 8, (0.4, 0.5, 0.6), (0.3, 0.2, 0.1), transform, resize)


def stored(
    folder: Path, transform: InputTransform | None = None, backbone: str = "convnet", resize: int | None = None
) -> tuple[Store, Run]:
    """Store the handmade run with models and with the facts of ingest about its tiles."""
    store = Store.open(str(folder / "results"))
    run = hand_run(store)
    for subject in run.subjects:
        model, card = classifier(backbone, transform if subject.defense else None, resize=resize)
        store.write_bytes(f"{store.artifact('model', subject.key)}/{MODEL_FILE}", save_classifier(model, card))
        store.publish("model", subject.key, {})
    (clean, *_) = run.pairings
    store.write_record(f"{store.artifact('tiles', clean.tiles)}/{MANIFEST}", TILES)
    store.write_bytes("runs/hand/experiment.yaml", yaml.safe_dump(EXPERIMENT).encode())
    compute_result(store, run)
    return store, run


WITHOUT_RAYPIPE = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "raypipe":
            raise ImportError("raypipe is not there")
sys.meta_path.insert(0, Refused())
"""
Exporter = Callable[[str], tuple[Store, Run, Export]]
