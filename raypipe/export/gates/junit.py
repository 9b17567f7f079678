"""The outcome of an evaluation as JUnit XML, which CI systems show as tests."""

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from raypipe.base.text import escape_controls
from raypipe.export.gates.outcomes import GateOutcome


def write_junit(outcomes: Iterable[GateOutcome], model: str) -> bytes:
    """Return a JUnit file with one test case for each requirement and each sanity check.

    Parameters
    ----------
    model
        Name of the model, which becomes the name of the test suite.
    """
    outcomes = tuple(outcomes)
    counts = {
        "tests": str(len(outcomes)),
        "failures": str(sum(outcome.state == "fail" for outcome in outcomes)),
        "errors": "0",
        "skipped": str(sum(outcome.state == "not applicable" for outcome in outcomes)),
    }
    root = ET.Element("testsuites", {"name": "raypipe", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": escape_controls(model), **counts})
    for outcome in outcomes:
        name = escape_controls(outcome.name)
        case = ET.SubElement(suite, "testcase", classname=f"raypipe.{outcome.kind}", name=name)
        figure = escape_controls(outcome.figure)
        if outcome.state == "fail":
            ET.SubElement(case, "failure", message=figure, type=outcome.kind).text = escape_controls(outcome.meaning)
        elif outcome.state == "not applicable":
            ET.SubElement(case, "skipped", message=figure)
        else:
            ET.SubElement(case, "system-out").text = figure
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text
