"""The results of a run in Python: the summary, single tiles, the figure, and the notebook of the documentation."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

import raypipe
from raypipe.evaluation.results.compute import compute_result
from raypipe.report.results import Results
from raypipe.storage.schemas import PER_TILE
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, HARDENED, hand_run

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
WITHOUT_RAY = """
import sys
sys.modules["ray"] = None  # an import of Ray fails
import matplotlib
matplotlib.use("agg")
import numpy as np, torch, raypipe
torch.manual_seed(0)
tiles = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 2)).eval()
few = {"autoattack": None, "checks": None, "curves": {}}
raypipe.evaluate(model, tiles, np.arange(6) % 2, ["fgsm"], to="results", name="demo", **few)
"""


@pytest.fixture
def results(tmp_path: Path) -> Results:
    store = Store.open(str(tmp_path))
    compute_result(store, hand_run(store))
    return raypipe.load("hand", str(tmp_path))


def test_the_summary_has_the_figures_of_the_tables(results: Results) -> None:
    summary, records = results.to_pandas(), results.records.to_pandas()
    assert list(summary.index) == [CLEAN, HARDENED]
    own = records[records.subject == HARDENED]
    static = own[(own.protocol == "static") & (own.attack == "cw")].accuracy.item()
    assert summary.loc[HARDENED, "static"] == static
    worst = own[(own.protocol == "worst case") & own.eps.notna()].sort_values("eps").iloc[0]
    assert summary.loc[HARDENED, "worst_case"] == worst.accuracy
    assert summary.loc[CLEAN, "static":"static"].isna().all(), "an undefended model has no static evaluation"


def test_single_tiles_give_the_figures_of_the_tables(results: Results) -> None:
    tiles = results.tiles()
    assert tiles.schema.equals(PER_TILE)
    frame, records = tiles.to_pandas(), results.records.to_pandas()
    for row in records[records.attack.notna()].itertuples():
        own = frame[(frame.subject == row.subject) & (frame.protocol == row.protocol) & (frame.attack == row.attack)]
        assert own.correct.mean() == row.accuracy
        assert own.linf.notna().all()
    assert frame[frame.protocol == "clean"].linf.isna().all()
    assert (frame.correct == (frame.label == frame.prediction)).all()
    assert set(pc.unique(results.tiles(CLEAN)["subject"]).to_pylist()) == {CLEAN}
    with pytest.raises(ValueError, match=f"run hand has no model 'other'; it has {CLEAN}, {HARDENED}"):
        results.tiles("other")


def test_the_figure_has_a_bar_and_an_interval_for_every_accuracy(results: Results) -> None:
    axes = results.plot()
    widths = sorted(round(bar.get_width(), 3) for bar in axes.patches)
    summary = results.to_pandas()
    shares = summary[["clean", "static", "white_box", "worst_case"]].to_numpy().ravel()
    assert widths == sorted(round(100 * share, 3) for share in shares if not np.isnan(share))
    assert len(axes.lines) == len(widths)
    assert [text.get_text().split("\n")[1] for text in axes.get_yticklabels()] == ["undefended", "at, cw"]
    assert all(stamp in axes.get_title(loc="left") for stamp in results.stamps)


def test_a_notebook_shows_the_conclusion_the_warnings_and_the_summary(results: Results) -> None:
    shown = results._repr_html_()
    assert results.conclusion.split(".")[0] in shown
    assert all(stamp in shown for stamp in results.stamps)
    assert f"<th>{HARDENED}</th>" in shown


def test_an_unknown_run_names_those_there_are(results: Results, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no finished run 'hund' in .*; there are: hand; did you mean 'hand'"):
        raypipe.load("hund", str(tmp_path))


def test_the_notebook_runs_without_ray(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells if cell["cell_type"] == "code"), "outputs are not committed"
    script = "\n".join([WITHOUT_RAY, *code])
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "accuracy.png").stat().st_size > 1000
