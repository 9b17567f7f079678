"""Names that are markup: a parser of HTML proves that the pages show them as text."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from raypipe.evaluation.results.across import compare_across
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.run import Run, write_run
from raypipe.report.layout import Book
from raypipe.report.page.compare import write_comparison
from raypipe.report.page.index import write_index
from raypipe.report.page.report import write_report
from raypipe.storage.environment import describe_environment, write_environment
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, hand_run

HOSTILE = {
    "element": "<img src=x onerror=alert(1)>",
    "script": "</title></style></script><script>alert(1)</script>",
    "double quotes": '" onmouseover="alert(1)" x="',
    "single quotes": "' onmouseover='alert(1)' x='",
    "entity": "&lt;b&gt;&#60;i&#62;&amp;",
    "comment": "]]> --><!-- x --><svg/onload=alert(1)>",
    "template": "{{ 7 * 7 }}{% for x in y %}",
    "lines": "a\n\r\t\x0bb\u2028c\u202ed",
}
DRAWN = {"path", "use", "g", "defs", "text", "tspan", "clippath"}
"""Elements of figures, whose number depends on the letters that are drawn."""


class Structure(HTMLParser):
    """The elements with the names of their attributes, in order, and all text as a browser would show it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in DRAWN:
            self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", ()))

    def unknown_decl(self, data: str) -> None:
        self.elements.append(("declaration", ()))


def named(run: Run, name: str, word: str) -> Run:
    """Return a run in which every name that others choose is one word."""
    subjects = tuple(
        subject.model_copy(
            update={
                "id": f"{word}{subject.id}", "model": word, "split": word, "defense": subject.defense and word,
                "hardened_on": subject.hardened_on and word, "undefended": subject.undefended and f"{word}{CLEAN}",
            }
        )
        for subject in run.subjects
    )  # fmt: skip
    pairings = tuple(
        pairing.model_copy(
            update={
                "subject": f"{word}{pairing.subject}", "attack": pairing.attack and word,
                "source": pairing.source and f"{word}{pairing.source}",
            }
        )
        for pairing in run.pairings
    )  # fmt: skip
    cells = tuple(cell.model_copy(update={"name": word, "model": word}) for cell in run.cells)
    changes = {
        "name": name,
        "subjects": subjects,
        "pairings": pairings,
        "cells": cells,
        "stamps": {word: (f"LEAKY: {word}",)},
    }
    return run.model_copy(update={**changes, "labels": (f"{word}1", f"{word}2"), "malignant": (f"{word}1",)})


def pages(folder: Path, word: str) -> dict[str, Structure]:
    """Draw every page of runs in which everything has one word as its name."""
    store = Store.open(str(folder))
    runs = [named(hand_run(store), name, word) for name in ("first", "second")]
    for run in runs:
        write_run(store, run)
        store.write_bytes(f"runs/{run.name}/experiment.yaml", f"name: {word!r}\n".encode())
        about = describe_environment(1, {"CPU": 1.0, f"accelerator_type:{word}": 1.0})
        write_environment(store, run.name, about)
    books = {run.name: Book.from_result(compute_result(store, run)) for run in runs}
    report = write_report(runs[0], compute_result(store, runs[0]), store)
    comparison = write_comparison(runs, books, list(compare_across(runs, store)), store)
    drawn = {"report": report, "comparison": comparison, "index": write_index(store)}
    return {kind: Structure(Path(path).read_text()) for kind, path in drawn.items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Structure]:
    return pages(tmp_path_factory.mktemp("plain"), "word")


def test_no_name_makes_an_element_or_an_attribute(plain: dict[str, Structure], tmp_path: Path) -> None:
    word = "".join(HOSTILE.values())
    for page, found in pages(tmp_path, word).items():
        assert found.elements == plain[page].elements, page
        assert found.attributes == plain[page].attributes, page
        assert len(found.links) == len(plain[page].links)
        assert not any(link.lower().lstrip().startswith(("javascript:", "vbscript:")) for link in found.links)
        assert " ".join(word.split()) in " ".join(found.text.split()), "shown as the text that it is"


def test_the_proof_would_notice_markup(plain: dict[str, Structure]) -> None:
    harmless = Structure('<p title="word">word')
    for kind in ("element", "script", "comment"):
        assert Structure(f'<p title="word">{HOSTILE[kind]}').elements != harmless.elements
    assert "onmouseover" in Structure(f'<p title="{HOSTILE["double quotes"]}">word').attributes - harmless.attributes
    assert "word" in plain["report"].text
