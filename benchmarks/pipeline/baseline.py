"""The paper's experiment as its authors would have written it, for comparison: one process, torchvision, ART.

The code is neither slowed down nor tuned: torchvision's models, a plain training loop, ART's attacks with their
defaults (batch sizes too), arrays in memory, and the static evaluation only. Every backbone is trained, and each attack
attacks its training and test tiles. A copy is retrained on clean and perturbed tiles. Both are tested on clean tiles
and on the tiles perturbed against the undefended model.

    python -m benchmarks.pipeline.baseline jobs/lc25000_cpu.yaml --tiles 75 --attack-tiles 4

takes tiles, split, backbones, epochs and attacks from an experiment file, as `raypipe run` would. With
`--attack-tiles`, an attack runs on at most that many tiles of each split, and its time is scaled up. The other tiles
are left clean, so that retraining takes its usual time but its accuracies mean nothing.
"""

import argparse
import copy
import io
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import CarliniL2Method, DeepFool, SaliencyMapMethod
from art.estimators.classification import PyTorchClassifier
from PIL import Image
from torch import nn
from torchvision import models

from raypipe.data.subset import choose_subset
from raypipe.plan.listing import check_experiment

BACKBONES: dict[str, Callable[[int], nn.Module]] = {
    "googlenet": lambda classes: models.googlenet(num_classes=classes, aux_logits=False, init_weights=True),
    "shufflenet_v2_x1_0": lambda classes: models.shufflenet_v2_x1_0(num_classes=classes),
    "resnet18": lambda classes: models.resnet18(num_classes=classes),
}
ATTACKS: dict[str, Callable[[PyTorchClassifier], Any]] = {
    "carlini_wagner_l2": lambda classifier: CarliniL2Method(classifier, verbose=False),
    "deepfool": lambda classifier: DeepFool(classifier, verbose=False),
    "saliency_map": lambda classifier: SaliencyMapMethod(classifier, verbose=False),
}


@dataclass
class Spent:
    """CPU seconds and elapsed seconds of a part; `scaled` is the factor that accounts for omitted tiles."""

    part: str
    cpu: float
    wall: float
    scaled: float = 1.0


@dataclass
class Clock:
    """The sum of the times of all parts."""

    parts: list[Spent] = field(default_factory=list)

    @contextmanager
    def time(self, part: str, scaled: float = 1.0) -> Iterator[None]:
        """Time the block, and multiply the time by `scaled`."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        spent = (time.process_time() - cpu) * scaled, (time.perf_counter() - wall) * scaled
        self.parts.append(Spent(part, *spent, scaled))
        print(f"{part}: {spent[0]:,.1f} CPU s" + (f", scaled by {scaled:.1f}" if scaled != 1 else ""), flush=True)


def load(experiment_file: str, overrides: Sequence[str], tiles: int | None) -> dict[str, Any]:
    """Return the experiment's tiles in memory, (n, 3, size, size) in [0, 1], by split."""
    experiment, (listing, *_), _ = check_experiment(experiment_file, overrides)
    names = {name: label for label, name in enumerate(listing.source.labels)}
    sides: dict[str, Any] = {}
    size, total = experiment.tiles.size, sum(item.split is not None for item in listing.items)
    for side in ("train", "test"):
        items = [item for item in listing.items if item.split == side]
        labels = [names[str(item.ref.label_name)] for item in items]
        groups = [item.ref.group or item.ref.path for item in items]
        count = round(len(items) * (tiles or total) / total)
        chosen = [items[at] for at in choose_subset(labels, groups, count, experiment.seed)]
        images = []
        for item in chosen:
            with Image.open(io.BytesIO(listing.source.read(item.ref.path))) as image:
                images.append(np.asarray(image.convert("RGB").resize((size, size)), np.float32) / 255)
        labels_of = np.array([names[str(item.ref.label_name)] for item in chosen])
        sides[side] = (np.stack(images).transpose(0, 3, 1, 2).copy(), labels_of)
    return {"experiment": experiment, "classes": len(names), **sides}


def fit(network: nn.Module, images: np.ndarray, labels: np.ndarray, epochs: int, batch: int, rate: float) -> None:
    """Train a network with a plain loop."""
    optimizer, loss_of = torch.optim.Adam(network.parameters(), rate), nn.CrossEntropyLoss()
    data = torch.utils.data.TensorDataset(torch.from_numpy((images - 0.5) / 0.5), torch.from_numpy(labels))
    loader = torch.utils.data.DataLoader(data, batch, shuffle=True, drop_last=len(data) % batch == 1)
    network.train()
    for _ in range(epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss_of(network(inputs), targets).backward()
            optimizer.step()
    network.eval()


def accuracy(classifier: PyTorchClassifier, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images that are classified correctly."""
    return float((classifier.predict(images).argmax(1) == labels).mean())


def attacked(attack: Any, images: np.ndarray, most: int | None, clock: Clock, part: str) -> np.ndarray:
    """Return perturbed images; if there are more than `most`, the others stay clean and the time is scaled."""
    count = min(len(images), most or len(images))
    with clock.time(part, len(images) / count):
        made = attack.generate(images[:count])
    return np.concatenate([made, images[count:]])


def run(loaded: dict[str, Any], most: int | None) -> dict[str, Any]:
    """Run the whole grid, and return the time of each part and the results."""
    experiment, clock, rows = loaded["experiment"], Clock(), []
    (train, train_labels), (test, test_labels) = loaded["train"], loaded["test"]
    recipe = experiment.train
    for model in experiment.models.values():
        network = BACKBONES[model.name](loaded["classes"])
        with clock.time(f"train {model.name}"):
            fit(network, train, train_labels, recipe.epochs, recipe.batch_size, recipe.learning_rate)
        clean = _classifier(network, loaded["classes"], train.shape[1:])
        for name in (name for name in ATTACKS if name in experiment.attacks):
            attack = ATTACKS[name](clean)
            old = {
                side: attacked(attack, images, most, clock, f"attack {model.name} {name} {side}")
                for side, images in (("train", train), ("test", test))
            }
            hardened = copy.deepcopy(network)
            defense = experiment.defenses["adversarial_training"]
            with clock.time(f"harden {model.name} {name}"):
                both = np.concatenate([train, old["train"]]), np.concatenate([train_labels, train_labels])
                fit(hardened, *both, defense.epochs, recipe.batch_size, defense.learning_rate)
            after = _classifier(hardened, loaded["classes"], train.shape[1:])
            with clock.time(f"evaluate {model.name} {name}"):
                figures = [accuracy(c, images, test_labels) for c in (clean, after) for images in (test, old["test"])]
            rows.append(dict(zip(("clean", "attacked", "hardened clean", "hardened static"), figures, strict=True)))
            rows[-1] |= {"model": model.name, "attack": name}
    return {"parts": [asdict(part) for part in clock.parts], "rows": rows}


def _classifier(network: nn.Module, classes: int, shape: tuple[int, ...]) -> PyTorchClassifier:
    return PyTorchClassifier(
        network,
        nn.CrossEntropyLoss(),
        shape,
        classes,
        clip_values=(0.0, 1.0),
        preprocessing=(0.5, 0.5),
        device_type="cpu",
    )


def main() -> None:
    """Run the experiment and print its times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("experiment", help="an experiment file")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="replace a setting")
    parser.add_argument("--tiles", type=int, help="of the data set; default: all")
    parser.add_argument("--attack-tiles", type=int, help="of each side that each attack is run on; default: all")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--out", type=Path, help="a JSON file for the record")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    begun = time.process_time()
    loaded = load(options.experiment, options.set, options.tiles)
    record = {"tiles": sum(len(loaded[side][1]) for side in ("train", "test")), "loading": time.process_time() - begun}
    record |= run(loaded, options.attack_tiles)
    record["cpu"] = record["loading"] + sum(part["cpu"] for part in record["parts"])
    record["wall"] = record["loading"] + sum(part["wall"] for part in record["parts"])
    for row in record["rows"]:
        print("  ".join(f"{name} {value:.3f}" if isinstance(value, float) else value for name, value in row.items()))
    print(f"{record['tiles']} tiles: {record['cpu']:,.0f} CPU s")
    if options.out:
        options.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
