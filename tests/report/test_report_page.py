"""The report of a run that can be computed manually: its text, its figures, and its behavior in a browser."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from raypipe.cli.app import app
from raypipe.evaluation.results.compute import compute_result
from raypipe.report.gallery import ALARM, MISSED, draw_galleries
from raypipe.report.layout import Book
from raypipe.report.page.pdf import write_pdf
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


def test_the_report_begins_with_three_sentences_findings_and_limits(html: str) -> None:
    summary = part(html, "summary").replace("\u00a0", " ")
    assert '<p class="verdict' in summary
    assert "On 8 test tiles from 4 groups" in summary
    assert "88 % (" in summary, "static"
    assert "50 % (" in summary, "attacked directly"
    severities = re.findall(r'class="severity (\w+)"', summary)
    assert severities == sorted(severities, key=["critical", "major", "minor", "good"].index)
    assert "misses 75 % (" in summary, "within 2/255: cancers a1 and a2, and b2 in the static evaluation"
    assert "not a medical device" in summary


def test_the_parts_come_in_the_order_in_which_a_reader_asks(html: str) -> None:
    found = re.findall(r'<section id="(\w+)">', html)
    assert found == [
        "summary", "pictures", "clinical", "accuracy", "trust", "evidence", "details", "reproduce", "glossary"
    ]  # fmt: skip
    assert "not shown above chance" in part(html, "trust"), "the verdict on each model"
    assert "not checked" in part(html, "trust")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html, re.DOTALL)
    assert not [caption for caption in captions if "bootstrap" in caption], "intervals of shares are Wilson's"


def test_only_runs_that_ask_have_the_paper_s_tables(tmp_path: Path, html: str) -> None:
    assert "DarkNet-53" not in html
    paper = part(page_of(tmp_path, paper_tables=True).read_text(), "paper")
    assert re.search(r"87\.5 <span class=\"beside\">\(99\)", paper)
    assert "is a static evaluation" in paper
    assert "DarkNet-53" in paper
    assert "measured here" in paper


def test_every_kind_of_figure_is_there_and_says_what_it_shows(html: str) -> None:
    for name in ("summary", "clinical", "accuracy"):
        assert '<figure class="chart" aria-label="' in part(html, name), name
    for name in ("accuracy", "details"):
        assert "<svg" in part(html, name), name
    assert 'class="heat"' in part(html, "clinical")
    assert "carlini_wagner_l2" in part(html, "details")
    assert "unbounded, minimal" in part(html, "details")
    labels = re.findall(r'(?:role="img"|class="chart") aria-label="([^"]*)"', html)
    assert len(labels) > 5
    assert all(re.search(r"\d", label) and len(label.split()) > 5 for label in labels), labels


def test_every_model_that_was_trained_has_its_learning_curves(html: str) -> None:
    details = part(html, "details")
    training = details[details.index('id="training"') :].split("</details>")[0]
    assert training.count('role="img"') == 1, "the undefended model of this run tells nothing of its training"
    assert "net, at, cw" in training
    for word in ("loss", "accuracy"):
        assert f">{word}</text>" in training, word
    for word in ("training", "validation"):
        assert f"</svg>{word}</li>" in training, word


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


def test_stamps_are_on_each_screen_once_and_at_each_heading_on_paper(tmp_path: Path) -> None:
    html = page_of(tmp_path, stamps={"group": ("LEAKY: x",)}).read_text()
    assert html.count("<b>LEAKY</b> x") == 1, "in a line that stays at the top of the window"
    for name in ("summary", "pictures", "clinical", "accuracy", "trust", "details"):
        assert part(html, name).count('<span class="on-paper">LEAKY</span>') == 1, name


def test_the_same_records_draw_the_same_page(page: Path, html: str) -> None:
    assert page_of(page.parents[2]).read_text() == html


def test_pictures_show_the_stored_tiles_of_every_model_and_harmful_errors_first(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    book = Book.from_result(compute_result(store, run))
    hardened, undefended = draw_galleries(run, book, store, HARDENED)
    assert (hardened.subject, undefended.subject) == (HARDENED, CLEAN)
    assert [picture.harm for picture in hardened.pictures] == [MISSED, MISSED, MISSED, ALARM]
    assert [picture.harm for picture in undefended.pictures] == [MISSED] * 4 + [ALARM] * 3
    assert undefended.pictures[0].sample_id == "b2", "the missed cancer that the first gallery does not show"
    first = hardened.pictures[0]
    assert first.caption == f"cancer \u2192 benign ({100 / (1 + np.exp(-4)):.0f} %)"
    assert "cw 4 of 8" in hardened.note
    for picture in (*hardened.pictures, *undefended.pictures):
        clean, adversarial, difference = map(pixels, (picture.clean, picture.adversarial, picture.difference))
        tile = original(IDS.index(picture.sample_id))
        assert np.array_equal(clean, tile)
        change = adversarial.astype(int) - tile
        assert change[0, 0, 0] == round(255 * picture.sizes["linf"])
        assert np.count_nonzero(change) == picture.sizes["l0"]
        assert picture.factor == 127 // change[0, 0, 0]
        assert np.array_equal(difference, 128 + picture.factor * change)


def test_classes_with_codes_have_names_that_a_pathologist_knows(tmp_path: Path) -> None:
    html = page_of(tmp_path, labels=("lung_aca", "lung_n"), malignant=("lung_aca",)).read_text()
    assert "Lung adenocarcinoma \u2192 Benign lung tissue (" in part(html, "pictures")
    assert "Lung adenocarcinoma (lung_aca)" in part(html, "clinical")


def test_a_large_grid_is_pictured_in_part_and_says_so(
    tmp_path: Path, html: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not pictured" not in html
    monkeypatch.setattr("raypipe.report.gallery.GALLERIES", 0)
    pictured = part(page_of(tmp_path).read_text(), "pictures")
    assert "<img" not in pictured
    assert "Models that are not pictured here: 2." in pictured


def test_no_picture_of_tiles_that_may_not_be_passed_on_is_in_a_report(tmp_path: Path, html: str) -> None:
    assert "<img" in part(html, "pictures")
    assert "data:image" in html
    withheld = page_of(
        tmp_path, restriction="the license forbids <it>", stamps={"group": ("NOT FOR REDISTRIBUTION: x",)}
    ).read_text()
    assert "<img" not in withheld
    assert "data:image" not in withheld
    assert "No picture is shown: the license forbids &lt;it&gt;" in part(withheld, "pictures")
    assert "<b>NOT FOR REDISTRIBUTION</b> x" in withheld


def pixels(uri: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


VISIBLE_TEXT = "[...document.querySelectorAll('svg text')].map((t) => t.getBoundingClientRect().height)"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1400, 390])
def test_in_a_browser_nothing_fails_overflows_or_is_missing(page: Path, width: int) -> None:
    hidden = """[...document.querySelectorAll("table.sheet")].filter((table) =>
        [...table.rows].some((row) => [...row.cells].some((cell) => cell.getBoundingClientRect().right > innerWidth)))
        .map((table) => table.parentElement.ariaLabel)"""
    seen = look(page, width, ask=f"({{hidden: {hidden}, heights: {VISIBLE_TEXT}}})")
    assert seen.errors == []
    assert seen.overflow == 0
    assert seen.unseen == [], "figures and pictures without a size"
    assert seen.smallest_text >= 11
    assert min(seen.answer["heights"]) >= 9, "pixels of a line of text in a figure"
    assert not [title for title in seen.answer["hidden"] if title.startswith(("Robustness", "Clinical", "Verdict"))]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_reader_sorts_filters_enlarges_and_takes_tables_along(page: Path) -> None:
    seen = look(
        page,
        1400,
        click="#accuracy table.sheet th:nth-child(2)",
        ask="""(() => {
            const table = document.querySelector("#accuracy table.sheet");
            const list = document.getElementById("kinds");
            list.value = "hardened";
            list.dispatchEvent(new Event("change"));
            const rows = [...table.querySelectorAll("tbody tr")].filter((row) => !row.hidden);
            document.querySelector("#pictures button.images").click();
            const viewer = document.getElementById("viewer");
            const first = viewer.querySelector("img").src;
            [...viewer.querySelectorAll("button")][1].click();
            const button = table.tHead.querySelectorAll("button")[1];
            return {
                sorted: table.tHead.rows[0].cells[1].ariaSort, bodies: table.tBodies.length,
                names: rows.map((row) => row.cells[0].innerText), open: viewer.open,
                changed: first !== viewer.querySelector("img").src, focusable: button.tabIndex,
                csv: csvOf(table).split("\\r\\n"),
            };
        })()""",
    )
    column = [float(text.split()[0]) for text in seen.column]
    assert len(column) == 2
    assert column == sorted(column)
    found = seen.answer
    assert (found["sorted"], found["focusable"]) == ("ascending", 0), "a button, so keys work too"
    assert [name.split("\n") for name in found["names"]] == [["net", "at, cw"]]
    assert (found["open"], found["changed"]) == (True, True)
    assert found["csv"][0].startswith('"model defense, attack","model defense, attack, detail","clean, test set",')
    assert any(line.startswith('"net","at, cw","100.0","') for line in found["csv"])


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_report_is_printed_to_a_short_pdf(page: Path) -> None:
    store = Store.open(str(page.parents[2]))
    pdf = Path(write_pdf(store, "hand", str(CHROMIUM)))
    assert pdf.parent == page.parent
    assert pdf.read_bytes().startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) < 15


def test_without_a_browser_the_command_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page_of(tmp_path)
    monkeypatch.setattr("raypipe.report.page.pdf.find_browser", lambda: None)
    done = CliRunner().invoke(app, ["report", "hand", "--storage", str(tmp_path), "--pdf"])
    assert done.exit_code == 0, done.output
    assert "apt install chromium" in done.output
    assert (tmp_path / "runs" / "hand" / "summary.html").exists()


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
    details = part(html, "details")
    spent = details[details.index('id="cost"') :]
    by_stage = spent[spent.index("Cost by stage") : spent.index("Seconds of all workers")]
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
