"""The report of a run that can be computed manually: its text, its figures, and its behavior in a browser."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raypipe.evaluation.results.compute import compute_result
from raypipe.report.gallery import FLIP, LEAST, MOST, galleries
from raypipe.report.page.report import write_report
from raypipe.storage.environment import describe_environment, write_environment
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, HARDENED, IDS, hand_run, original
from tests.report.browser import CHROMIUM, look


def page_of(folder: Path, **changes: object) -> Path:
    store = Store.open(str(folder))
    run = hand_run(store).model_copy(update=changes)
    (hardened,) = (subject.key for subject in run.subjects if subject.id == HARDENED)
    figures = {"loss": 0.5, "accuracy": 0.75, "validation_loss": 0.75, "validation_accuracy": 0.625}
    store.publish("model", hardened, {"history": [{"epoch": 1, **figures}, {"epoch": 2, **figures}]})
    write_environment(store, run.name, describe_environment(2, {"CPU": 8.0, "accelerator_type:H100": 1.0, "GPU": 1.0}))
    return Path(write_report(run, compute_result(store, run), store))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def html(page: Path) -> str:
    return page.read_text()


def part(html: str, name: str) -> str:
    return html[html.index(f'<section id="{name}">') :].split("</section>", maxsplit=1)[0]


def test_the_first_screen_says_what_was_tested_and_what_is_left(html: str) -> None:
    top = html[: html.index("<nav>")]
    assert "1 undefended model and 1 hardened model were tested on 8 tiles of 2 classes from 4 groups" in top
    assert "0 of 2" in top, "no model passed checks that nobody made"
    assert "87.5 %" in top, "static"
    assert "50.0 %" in top, "white-box attack"
    assert "not checked, so it is not called robust" in part(html, "checks")
    assert "<svg" in part(html, "glance")


def test_the_paper_s_tables_have_reported_beside_measured(html: str) -> None:
    paper = part(html, "paper")
    assert re.search(r"87\.5 <span class=\"beside\">\(99\)", paper)
    assert "is a static evaluation" in paper
    assert "DarkNet-53" in paper
    assert "measured here" in paper


def test_every_kind_of_figure_is_there(html: str) -> None:
    for name in ("glance", "curves", "classes", "calibration", "cost"):
        assert "<svg" in part(html, name), name
    assert 'class="heat"' in part(html, "classes")
    assert "carlini_wagner_l2" in part(html, "threats")
    assert "unbounded, minimal" in part(html, "threats")


def test_every_model_that_was_trained_has_its_learning_curves(html: str) -> None:
    training = part(html, "training")
    assert training.count("<svg") == 1, "the undefended model of this run tells nothing of its training"
    assert HARDENED in training
    for word in ("loss", "accuracy", "training", "validation"):
        assert f">{word}</text>" in training, word


def test_the_page_says_how_to_reproduce_the_run(html: str) -> None:
    reproduce = part(html, "reproduce")
    assert "name: hand" in reproduce
    assert "2 nodes, 8 CPUs, 1 GPUs (H100)" in reproduce
    assert "torch 2" in reproduce


def test_the_page_needs_nothing_from_elsewhere(html: str) -> None:
    fetched = re.findall(r"""(?:src|href)=["']([^"'#][^"']*)|url\(([^)#]*)\)|@import (\S+)""", html)
    assert all(address.startswith("data:") for found in fetched for address in found if address)


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    html = page_of(tmp_path, labels=("cancer", "<script>alert(1)</script>")).read_text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_stamps_stand_in_every_part_with_figures(tmp_path: Path) -> None:
    html = page_of(tmp_path, stamps={"group": ("LEAKY: x",)}).read_text()
    assert "<b>LEAKY</b> x" in html[: html.index("<nav>")]
    for name in ("glance", "robustness", "paper", "curves", "classes", "calibration", "cost", "pictures"):
        assert "LEAKY: x" in part(html, name), name


def test_the_same_records_draw_the_same_page(page: Path, html: str) -> None:
    assert page_of(page.parents[2]).read_text() == html


def test_pictures_show_the_stored_tiles_and_cancers_that_are_missed_first(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    (gallery,) = galleries(hand_run(store), store)
    assert (gallery.model, gallery.attack) == (CLEAN, "cw")
    assert [picture.reason for picture in gallery.pictures] == [f"{FLIP}, {LEAST}", FLIP, MOST]
    first = gallery.pictures[0]
    assert (first.label, first.before.label, first.after.label) == ("cancer", "cancer", "benign")
    assert first.after.confidence == pytest.approx(1 / (1 + np.exp(-4)))
    for picture in gallery.pictures:
        clean, adversarial, difference = map(pixels, (picture.clean, picture.adversarial, picture.difference))
        tile = original(IDS.index(picture.sample_id))
        assert np.array_equal(clean, tile)
        change = adversarial.astype(int) - tile
        assert change[0, 0, 0] == round(255 * picture.sizes["linf"])
        assert np.count_nonzero(change) == picture.sizes["l0"]
        assert picture.factor == 127 // change[0, 0, 0]
        assert np.array_equal(difference, 128 + picture.factor * change)


def test_a_large_grid_is_pictured_in_part_and_says_so(
    tmp_path: Path, html: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not pictured" not in html
    monkeypatch.setattr("raypipe.report.gallery.GALLERIES", 0)
    pictured = part(page_of(tmp_path).read_text(), "pictures")
    assert "<img" not in pictured
    assert "Pairs of a model and an attack that are not pictured here: 1." in pictured


def test_no_picture_of_tiles_that_may_not_be_passed_on_is_in_a_report(tmp_path: Path, html: str) -> None:
    assert "<img" in part(html, "pictures")
    assert "data:image" in html
    withheld = page_of(
        tmp_path, restriction="the license forbids <it>", stamps={"group": ("NOT FOR REDISTRIBUTION: x",)}
    ).read_text()
    assert "<img" not in withheld
    assert "data:image" not in withheld
    assert "No picture is shown: the license forbids &lt;it&gt;" in part(withheld, "pictures")
    assert "NOT FOR REDISTRIBUTION: x" in part(withheld, "glance")


def pixels(uri: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_nothing_fails_overflows_or_is_missing(page: Path, width: int) -> None:
    seen = look(page, width)
    assert seen.errors == []
    assert seen.overflow == 0
    assert seen.unseen == [], "figures and pictures without a size"
    assert seen.smallest_text >= 11


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_click_on_a_heading_sorts_its_table(page: Path) -> None:
    seen = look(page, 1280, click="#robustness table.sheet th:nth-child(2)")
    column = [float(text.split()[0]) for text in seen.column]
    assert len(column) == 2
    assert column == sorted(column)
    assert HARDENED.startswith(CLEAN)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_page_that_fails_is_seen_to_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    body = '<main><div style="width: 900px">x</div><img alt="gone" src="data:,"></main>'
    page.write_text(f'<!doctype html>{body}<script>throw new Error("boom")</script>')
    seen = look(page, 390)
    assert "boom" in seen.errors[0]
    assert seen.overflow > 400
    assert seen.unseen == ["gone"]


def test_cost_is_summed_over_the_cells_of_a_stage(html: str) -> None:
    spent = part(html, "cost")
    assert "Cost by stage" in spent
    by_stage = spent[spent.index("Cost by stage") : spent.index("Cost of the attacks on each model")]
    for figure in ("48", "32", "8.0"):
        assert f">{figure}<" in by_stage
    assert "net/cw/at/cw/test" in spent[spent.index("Cost of each cell") :]


def test_tiles_of_a_single_source_have_figures_without_intervals(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    for pairing in run.pairings:
        for shard in store.shards("predictions", pairing.predictions):
            table = store.read_table(shard)
            place = table.schema.get_field_index("group_id")
            store.write_table(shard, table.set_column(place, "group_id", [["a"] * table.num_rows]))
    write_environment(store, run.name, describe_environment(1, {"CPU": 1.0}))
    result = compute_result(store, run)
    assert set(result.curves["robust_accuracy_low"].combine_chunks().flatten().to_pylist()) == {None}
    assert 'id="curves"' in Path(write_report(run, result, store)).read_text()
