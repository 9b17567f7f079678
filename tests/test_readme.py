"""The commands and examples of the README and the guides, run unchanged on small experiments and tiles."""

import csv
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from art.estimators.classification import PyTorchClassifier
from PIL import Image

from raypipe.data.reading.png import encode_png
from raypipe.data.tissue import LABELS, render_tile
from raypipe.experiment.load import load_experiment
from raypipe.export.write import export_model
from tests.evaluation.handmade import HARDENED
from tests.export.exporting import WITHOUT_RAYPIPE, stored
from tests.terminal import pristine_environment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDES = ("quickstart", "my-data", "my-model", "python", "attacks", "training")
TEXT = "\n".join([README, *((ROOT / "docs" / f"{name}.md").read_text() for name in GUIDES)])
SMALL = {
    "models": {"shufflenet_v2_x1_0": {"name": "convnet"}},  # the id that the README exports, with a smaller network
    "attacks": ["deepfool"],
    "defenses": {"adversarial_training": {"epochs": 1}},
    "tiles": {"size": 32, "shard_size": 16},
    "evaluation": {"tiles": 5, "curves": {}, "checks": None},
    "resources": {"harden_workers": 0},
}
OWN_LABELS = ("benign", "malignant")
"""The classes of the tiles, as the README's command names them."""
OWN_NETWORK = """
from torchvision.models import shufflenet_v2_x0_5

def build(num_classes):
    return shufflenet_v2_x0_5(num_classes=num_classes)
"""
ELSEWHERE = {
    "make demo": ".ci/run",
    "make test": ".ci/run",
    "pip install .": ".ci/run",
    "raypipe data fetch": "tests/data/reading/test_fetching.py",
}
"""Commands that another file runs, and that file."""
ALONE = (
    "raypipe evaluate model.pt2",
    "raypipe report model.pt2",
    "raypipe plan jobs/demo.yaml --estimate",
    "raypipe audit",
    "raypipe data list",
)
"""Commands that use nothing that the commands of the experiments write, so that another process can run them."""


def commands() -> list[str]:
    """Return every command, in the order in which a reader meets them."""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.S)
    return list(dict.fromkeys(line.split("#")[0].strip() for block in blocks for line in block.splitlines()))


def ours() -> list[str]:
    return [command for command in commands() if command.startswith("raypipe ") and not elsewhere(command)]


def alone(command: str) -> bool:
    return command.startswith(ALONE)


def elsewhere(command: str) -> list[str]:
    return [place for start, place in ELSEWHERE.items() if command.startswith(start)]


def python_block(beginning: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    (block,) = (block for block in blocks if block.startswith(beginning))
    return block


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like a reader's: the experiments, LC25000 as its author's zip, and its groups."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "jobs").mkdir()
    for name in ("demo", "lc25000_cpu"):
        experiment = yaml.safe_load((ROOT / "jobs" / f"{name}.yaml").read_text()) | SMALL
        experiment["data"] |= {"sources_per_class": 4, "siblings": 2} if name == "demo" else {"per_class": 8}
        experiment["train"]["epochs"] = 3
        (folder / "jobs" / f"{name}.yaml").write_text(yaml.safe_dump(experiment))
    with zipfile.ZipFile(folder / "LC25000.zip", "w") as archive, (folder / "groups.csv").open("w") as groups:
        rows = csv.writer(groups)
        rows.writerow(["filename", "label", "group"])
        for label in LABELS:
            organ = label.split("_")[0]
            for number in range(10):
                name = f"{label.replace('_', '')}{number}.png"
                tile = render_tile(label, number // 2, number % 2, size=32, seed=0)
                archive.writestr(f"lung_colon_image_set/{organ}_image_sets/{label}/{name}", encode_png(tile))
                rows.writerow([name, label, f"{label}:{number // 2}"])
    return folder


FIT = """
from pathlib import Path
from torchvision.io import decode_image

torch.manual_seed(0)
torch.set_num_threads(1)
files = sorted(Path("tiles").glob("*/*.png"))
images = torch.stack([decode_image(str(file)) for file in files]) / 255
labels = torch.tensor([int(file.parent.name == "malignant") for file in files])
optimizer = torch.optim.Adam(model.train().parameters(), lr=0.01)
for _ in range(40):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
model.eval()
"""
"""Training of the documented model: attacks on a model at chance would use up every budget."""


def save_own_model(folder: Path) -> None:
    """Save a model as docs/my-model.md shows, and tiles of its two classes."""
    for label, tissue in zip(OWN_LABELS, ("colon_n", "colon_aca"), strict=True):
        (folder / "tiles" / label).mkdir(parents=True)
        for number in range(10):
            tile = render_tile(tissue, number, 0, size=64, seed=0)
            (folder / "tiles" / label / f"{number}.png").write_bytes(encode_png(tile))
    made, saved = python_block("import torch\nfrom torchvision.models").split("  # your trained model")
    run([sys.executable, "-c", made + FIT + saved], folder)


def run(command: list[str], folder: Path) -> str:
    home = folder / ".home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        command, cwd=folder, env=pristine_environment(home), capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, "Ray's chatter belongs into its log file"
    return done.stdout


def test_every_command_is_run_somewhere() -> None:
    for command in commands():
        assert command in ours() or elsewhere(command), f"nothing runs {command!r}"
    for start, place in ELSEWHERE.items():
        words = {"raypipe data fetch": 'command("fetch"', "pip install .": '/bin/pip" install'}
        assert words.get(start, start) in (ROOT / place).read_text(), f"{place} does not run {start!r}"


@pytest.mark.full
@pytest.mark.cluster
@pytest.mark.xdist_group("readme")
@pytest.mark.timeout(1500)
def test_the_commands_of_the_experiments_in_their_order(folder: Path) -> None:
    output = {command: run(command.split(), folder) for command in ours() if not alone(command)}
    assert [command.split()[1] for command in output] == [
        "validate", "plan", "run", "results", "report", "index", "status", "run", "compare", "export", "attack",
        "evaluate",
    ]  # fmt: skip
    assert "SYNTHETIC" in (folder / "results" / "runs" / "demo" / "report.html").read_text()
    assert "runs/demo/report.html" in (folder / "results" / "index.html").read_text()
    assert "demo" in output["raypipe status demo"]
    assert "valid" in output["raypipe validate jobs/demo.yaml"]
    assert "to do" in output["raypipe plan jobs/demo.yaml"]
    exported, attacked, judged = (
        text for command, text in output.items() if command.split()[1] in ("export", "attack", "evaluate")
    )
    assert "not written" not in exported
    assert "accuracy after" in attacked
    assert len(list((folder / "attacked" / "images").glob("*/*.png"))) == 20
    check_evaluation(judged, folder / "judged" / "runs" / "exported")
    for command, text in output.items():
        if command.split()[1] in ("run", "results"):
            assert "Accuracy in % on " in text
            where = re.search(r"Results: (\S+)", text)
            assert where
            assert (Path(where[1]) / "records.parquet").is_file()
            assert ("SYNTHETIC" in text) == ("demo" in command)


@pytest.mark.full
@pytest.mark.cluster
@pytest.mark.xdist_group("readme-alone")
@pytest.mark.timeout(1500)
def test_the_other_commands_in_their_order(folder: Path) -> None:
    save_own_model(folder)
    output = {command: run(command.split(), folder) for command in ours() if alone(command)}
    assert [command.split()[1] for command in output] == ["evaluate", "report", "plan", "audit", "data"]
    judged, *_ = output.values()
    check_evaluation(judged, folder / "evaluated" / "runs" / "model.pt2")
    assert (folder / "evaluated" / "runs" / "model.pt2" / "report.html").is_file()
    assert "adjusted Rand index" in output["raypipe audit LC25000.zip --groups groups.csv --out found.csv"]


def check_evaluation(text: str, place: Path) -> None:
    assert "Not measured, because they need other models" in text
    assert (place / "results.json").is_file()


@pytest.mark.cluster
@pytest.mark.xdist_group("readme")
def test_the_lines_of_python(folder: Path) -> None:
    code = python_block("import raypipe\n")
    assert len([line for line in code.splitlines() if line.strip()]) == 3
    assert "static" in run([sys.executable, "-c", code], folder)


def test_the_lines_on_an_exported_model(tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    export_model(store, "hand", HARDENED, tmp_path / "exported")
    Image.new("RGB", (20, 30), (200, 90, 120)).save(tmp_path / "tile.png")
    use, judge = python_block("from PIL import Image"), python_block("import numpy")
    assert [len([line for line in code.splitlines() if line.strip()]) for code in (use, judge)] == [5, 10]
    assert run([sys.executable, "-c", WITHOUT_RAYPIPE + use], tmp_path).strip() in ("cancer", "benign")
    said = run([sys.executable, "-c", judge], tmp_path)
    assert "(6, 8, 8, 3)" in said
    assert "white-box" in said
    assert "worst case" in said


def test_the_toolbox_s_user_changes_one_import() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4))
    loss = torch.nn.CrossEntropyLoss()
    classifier = PyTorchClassifier(model, loss, input_shape=(3, 8, 8), nb_classes=4, clip_values=(0, 255))
    names = {"classifier": classifier, "x": np.full((2, 3, 8, 8), 100, dtype=np.float32)}
    exec(python_block("from raypipe.attacks.art.evasion"), names)
    before, after = (classifier.predict(names[images]).argmax(1) for images in ("x", "adversarial"))
    assert (before != after).all()


def test_the_experiment_shown_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = (block for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.S) if block.startswith("name:"))
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg" / "net.py").write_text(OWN_NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.yaml").write_text(example)
    experiment = load_experiment(tmp_path / "mine.yaml")
    assert experiment.attacks["theirs"].name == "deepfool"
    assert experiment.models["convnext"].resize == 224
    assert experiment.models["ours"].digest


@pytest.mark.parametrize("place", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(place: str) -> None:
    assert (ROOT / place).exists()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130, "reference belongs into docs/"
