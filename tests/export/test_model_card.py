"""The card of an exported model: the measured figures, their limits, and lines of code that run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.run import write_run
from raypipe.export.write import export_model
from raypipe.models.checkpoint import save_classifier
from raypipe.models.model_file import MODEL_FILE
from tests.evaluation.handmade import CLEAN, HARDENED
from tests.export.exporting import WITHOUT_RAYPIPE, Exporter, classifier, stored

pytestmark = pytest.mark.xdist_group("export")  # in one process, so that the tests share the exported files


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


@pytest.mark.usefixtures("without_onnx")
def test_the_card_tells_figures_threats_stamps_and_gaps(tmp_path: Path) -> None:
    store, run = stored(tmp_path)
    write_run(store, run.model_copy(update={"stamps": {"group": ("LEAKY: 25.0% of them",)}}))
    compute_result(store, run.model_copy(update={"stamps": {"group": ("LEAKY: 25.0% of them",)}}))
    export_model(store, "hand", HARDENED, tmp_path / "exported", weights_license="cc-by-4.0")
    front, text = card_of(tmp_path / "exported")
    assert front["license"] == "cc-by-4.0"
    assert "leaky" in front["tags"]
    (results,) = front["model-index"][0]["results"]
    # Computed manually from the 8 tiles of tests.evaluation.handmade: clean accuracy of all and of the attacked tiles,
    # static, adaptive, worst case of any size, and worst case within 2/255.
    assert [metric["value"] for metric in results["metrics"]] == [1.0, 1.0, 0.875, 0.5, 0.375, 0.625]
    assert len({metric["name"] for metric in results["metrics"]}) == 6
    figures = text.split("## Figures")[1].split("| clinical errors in %")[0]
    rows = {line.split(" | ")[0].strip("| "): line for line in figures.splitlines() if line.startswith("| ")}
    assert rows["clean"].split(" | ")[5] == "100.0 [39.8, 100.0]"
    assert rows["static"].split(" | ")[1:5] == ["cw", "minimal l2", "transfer", "net"]
    assert rows["adaptive"].split(" | ")[4] == "itself"
    for said in (
        "**LEAKY: 25.0% of them**", "Not checked: no sanity checks", "at random, as in the paper", "25.0 % of the test",
        "drawn by a program", "tiles crafted against other networks (transfer)", "adversarial_training",
        "model/" + run.subjects[1].key, "cc-by-4.0", "11 tiles for training",
    ):  # fmt: skip
        assert said in text, said
    assert "/home/somebody" not in text, "where the data lay is nobody's business"


@pytest.mark.usefixtures("without_onnx")
def test_a_license_that_nobody_stated_is_not_made_up(tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    export_model(store, "hand", CLEAN, tmp_path / "exported")
    front, text = card_of(tmp_path / "exported")
    assert front["license"] == "unknown"
    assert "License of these weights: not stated" in text


def test_no_name_becomes_markup(tmp_path: Path) -> None:
    store, run = stored(tmp_path)
    hostile = "<script>|`*[x](javascript:a)\n---\n# '''\"\"\""
    model, card = classifier("convnet", labels=(hostile, "benign"))
    store.write_bytes(f"{store.artifact('model', run.subjects[0].key)}/{MODEL_FILE}", save_classifier(model, card))
    export_model(store, "hand", CLEAN, tmp_path / "exported")
    _, text = card_of(tmp_path / "exported")
    lines = [line for line in text.splitlines() if "javascript" in line]
    assert lines
    for line in lines:
        assert "&lt;script&gt;\\|\\`\\*\\[x\\](javascript:a) --- # '''\"\"\"" in line
    (line,) = [line for line in lines if "benign" in line]
    assert "&lt;script&gt;\\|\\`\\*\\[x\\](javascript:a) --- # '''\"\"\", benign." in line
    found: dict[str, Any] = {}
    exec((tmp_path / "exported" / "model.py").read_text().split("SIZE =")[0].split("import Tensor, nn")[1], found)
    assert found["LABELS"] == (hostile, "benign")


def test_the_card_s_five_lines_run_in_its_folder(exported: Exporter, tmp_path: Path) -> None:
    shutil.copytree(exported("none")[2].folder, tmp_path / "exported")
    _, text = card_of(tmp_path / "exported")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len([line for line in code.splitlines() if line.strip()]) == 5
    Image.new("RGB", (20, 30), (200, 90, 120)).save(tmp_path / "exported" / "tile.png")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAYPIPE + code], cwd=tmp_path / "exported", capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip() in ("cancer", "benign")
