"""The results of a run in Python: the summary, single tiles, the figure, and the notebook of the documentation."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pyarrow.compute as pc
import pytest

import raypipe
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.schemas import PER_TILE
from raypipe.report.results import Results
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, HARDENED, hand_run

mpl.use("agg")
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


def test_a_figure_of_another_name_is_refused_and_curves_begin_at_clean_accuracy(results: Results) -> None:
    figure = results.figure("curves")
    rows = [row for row in results.curves.to_pylist() if row["attack"] is None]
    lines = [line for axes in figure.axes for line in axes.lines]
    assert sorted(line.get_ydata()[0] for line in lines) == sorted(100 * row["robust_accuracy"][0] for row in rows)
    assert results.figure().axes[0].get_xlabel() == "accuracy in %, with 95 % intervals"
    with pytest.raises(ValueError, match="there is no figure 'curve'; expected 'accuracy' or 'curves'"):
        results.figure("curve")  # type: ignore[arg-type]


def test_the_report_is_written_where_its_path_says(results: Results) -> None:
    assert "hand" in Path(results.report()).read_text()


def test_results_cannot_be_changed(results: Results) -> None:
    with pytest.raises(FrozenInstanceError):
        results.name = "other"  # type: ignore[misc]


def test_a_run_is_found_by_its_name_its_folder_its_files_and_its_store(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    folder = tmp_path / "runs" / "hand"
    places = (tmp_path, folder, f"{folder}/", folder / "report.html", str(tmp_path), tmp_path.name, tmp_path.as_uri())
    for place in places:
        assert raypipe.load(place).location == results.location
    monkeypatch.chdir(tmp_path)
    assert raypipe.load("runs/hand").name == "hand"
    (tmp_path / "runs" / "other").mkdir()
    with pytest.raises(FileNotFoundError, match=r"is a store with 2 runs: .*there are: hand, other"):
        raypipe.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no run: expected the folder of a run"):
        raypipe.load(tmp_path.parent / "nowhere")
    with pytest.raises(FileNotFoundError, match="no finished run 'hund'"):
        raypipe.load(tmp_path / "runs" / "hund")


def test_a_notebook_shows_the_conclusion_the_warnings_and_the_summary(results: Results) -> None:
    shown = results._repr_html_()
    assert results.conclusion.split(".")[0] in shown
    assert all(stamp in shown for stamp in results.stamps)
    assert f"<th>{HARDENED}</th>" in shown


def test_printed_results_show_the_summary_and_not_every_table(results: Results) -> None:
    shown = str(results)
    assert results.conclusion in shown
    assert all(stamp in shown for stamp in results.stamps)
    assert HARDENED in shown
    assert "pyarrow" not in shown
    assert len(shown.splitlines()) < 20


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
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("accuracy.png", "curves.png"))
