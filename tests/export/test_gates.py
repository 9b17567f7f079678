"""Requirements on a model, and the files for CI systems: what is met, what is not, and what a failed check says."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from raypipe.evaluation.requirements import Requirement, add_radii, read_requirement
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.settings import Evaluation
from raypipe.export.gates.junit import write_junit
from raypipe.export.gates.outcomes import CHECK, REQUIREMENT, GateOutcome, judge_gates
from raypipe.export.gates.sarif import write_sarif
from raypipe.report.layout import Book
from raypipe.storage.store import Store
from tests.evaluation.handmade import CLEAN, hand_run


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clean=0.8", Requirement("clean=0.8", "clean", 0.8)),
        ("worst=1/2", Requirement("worst=1/2", "worst", 0.5)),
        ("robust=0.4@linf:4/255", Requirement("robust=0.4@linf:4/255", "robust", 0.4, "linf", 4 / 255)),
        ("robust=0@l2:1.5", Requirement("robust=0@l2:1.5", "robust", 0.0, "l2", 1.5)),
    ],
)
def test_a_requirement_is_read(text: str, expected: Requirement) -> None:
    assert read_requirement(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("robust", r"expected robust=SHARE@NORM:EPS, clean=SHARE or worst=SHARE"),
        ("accuracy=0.4", r"expected robust=SHARE@NORM:EPS"),
        ("clean=80", r"the accuracy is 80, expected a share from 0 to 1"),
        ("clean=nan", r"expected a finite number"),
        ("clean=high", r"the accuracy is 'high', expected a number"),
        ("clean=0.4@linf:4/255", r"expected clean=SHARE alone"),
        ("robust=0.4", r"expected a ball, as in robust=0.4@linf:4/255"),
        ("robust=0.4@l1:1", r"the norm is l1, expected linf or l2"),
        ("robust=0.4@linf:4", r"did you mean 4/255"),
        ("robust=0.4@linf:0", r"the radius is 0, expected more than 0"),
        ("robust=0.4@linf:4/0", r"the radius is '4/0', expected a number"),
    ],
)
def test_a_text_that_is_no_requirement_is_refused_with_its_wrong_part(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_requirement(text)


def test_a_required_ball_is_measured_and_measured_once() -> None:
    asked = [read_requirement(text) for text in ("robust=0.4@linf:4/255", "robust=0.3@linf:3/255", "robust=0@l2:1")]
    curves = add_radii(Evaluation(curves={"linf": [0.0156862745]}), asked).curves
    assert {norm: len(radii) for norm, radii in curves.items()} == {"linf": 2, "l2": 1}
    assert curves["linf"] == tuple(sorted(curves["linf"]))


def book_of(folder: Path, failed: Sequence[str] = ()) -> Book:
    store = Store.open(str(folder))
    book = Book.from_result(compute_result(store, hand_run(store)))
    for name in failed:
        about = {"figure": "1 of 8", "meaning": "why", "source": "ours"}
        book.checks.append({"subject": CLEAN, "check": name, "verdict": "fail", **about})
    return book


def judge(book: Book, text: str) -> GateOutcome:
    (outcome,) = (each for each in judge_gates(book, CLEAN, [read_requirement(text)]) if each.kind == REQUIREMENT)
    return outcome


def test_accuracy_is_compared_with_the_figures_of_the_tables(tmp_path: Path) -> None:
    book = book_of(tmp_path)
    clean = book.find_clean(CLEAN)["accuracy"]
    assert judge(book, f"clean={clean}").state == "pass"
    refused = judge(book, f"clean={clean + 0.01}")
    assert refused.state == "fail"
    assert f"clean accuracy is {100 * clean:.1f} [" in refused.figure
    unmeasured = judge(book, "robust=0.4@linf:200/255")
    assert (unmeasured.state, unmeasured.figure) == (
        "fail",
        "robust accuracy in the ball linf:200/255 was not measured",
    )


def test_an_upper_bound_meets_no_requirement_once_a_sanity_check_has_failed(tmp_path: Path) -> None:
    sound, doubtful = book_of(tmp_path / "a"), book_of(tmp_path / "b", failed=["more steps are never weaker"])
    worst = sound.find_headline_case(CLEAN)
    assert worst is not None
    row: dict[str, Any] = next(row for row in sound.records if row["protocol"] == "worst case")
    row["accuracy"] = doubtful.find_headline_case(CLEAN)["accuracy"] = worst["accuracy"] = 0.75  # type: ignore[index]
    assert judge(sound, "worst=0.5").state == "pass"
    refused = judge(doubtful, "worst=0.5")
    assert refused.state == "fail"
    assert "1 sanity check failed: it may be overestimated" in refused.figure
    assert judge(doubtful, "worst=0").state == "pass", "every model has an accuracy of at least 0"
    assert judge(doubtful, "clean=0.5").state == "pass", "clean accuracy is no bound"


OUTCOMES = (
    GateOutcome(REQUIREMENT, "clean=0.8", "pass", "clean accuracy is 90.0 %", "at least 80 %"),
    GateOutcome(REQUIREMENT, "robust=0.4@linf:4/255", "fail", "it is 10.0 % < 40 %", "at least 40 %"),
    GateOutcome(CHECK, "a larger eps is never weaker", "fail", "3 of 20\x1b[2J tiles", "A larger ball & more"),
    GateOutcome(CHECK, "white-box beats transfer", "not applicable", "no transfer attack", "why"),
)


def test_junit_has_a_test_for_each_outcome() -> None:
    suite = ET.fromstring(write_junit(OUTCOMES, "my <model>")).find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("name", "tests", "failures", "skipped")} == {
        "name": "my <model>",
        "tests": "4",
        "failures": "2",
        "skipped": "1",
    }
    cases = {case.get("name"): case for case in suite}
    assert cases["clean=0.8"].find("failure") is None
    failure = cases["a larger eps is never weaker"].find("failure")
    assert failure is not None
    assert (failure.get("message"), failure.text) == ("3 of 20\\x1b[2J tiles", "A larger ball & more")
    assert cases["white-box beats transfer"].find("skipped") is not None


def test_sarif_has_a_result_and_a_rule_for_each_outcome() -> None:
    log = json.loads(write_sarif(OUTCOMES, "net", "models/my net.pt2"))
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert log["version"] == "2.1.0"
    assert len(set(rules)) == len(rules) == len(run["results"])
    assert [rules[result["ruleIndex"]] for result in run["results"]] == [each["ruleId"] for each in run["results"]]
    assert [result["kind"] for result in run["results"]] == ["pass", "fail", "fail", "notApplicable"]
    assert [result["level"] for result in run["results"]] == ["none", "error", "error", "none"]
    (place,) = run["results"][0]["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "models/my%20net.pt2"
