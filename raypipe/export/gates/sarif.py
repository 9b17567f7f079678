"""The outcome of an evaluation as SARIF 2.1.0 (OASIS, 2020), which code hosts show as findings."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from raypipe.base.version import __version__
from raypipe.export.gates.outcomes import GateOutcome

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
HOME = "https://github.com/raypipe/raypipe"
KINDS = {"pass": "pass", "fail": "fail", "not applicable": "notApplicable"}


def write_sarif(outcomes: Iterable[GateOutcome], model: str, place: str) -> bytes:
    """Return a SARIF file with one result for each requirement and each sanity check.

    Parameters
    ----------
    model
        Name of the model.
    place
        File or folder of the model, which each result points to.
    """
    outcomes = tuple(outcomes)
    driver = {
        "name": "raypipe",
        "version": __version__,
        "informationUri": HOME,
        "rules": [_describe_rule(outcome) for outcome in outcomes],
    }
    results = [_describe_result(number, outcome, model, place) for number, outcome in enumerate(outcomes)]
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return (json.dumps(log, indent=1) + "\n").encode()


def _describe_rule(outcome: GateOutcome) -> dict[str, Any]:
    return {
        "id": _identify(outcome),
        "name": outcome.name,
        "shortDescription": {"text": f"{outcome.kind}: {outcome.name}"},
        "fullDescription": {"text": outcome.meaning or outcome.name},
    }


def _describe_result(number: int, outcome: GateOutcome, model: str, place: str) -> dict[str, Any]:
    fingerprint = hashlib.sha256(f"{model}\n{_identify(outcome)}".encode()).hexdigest()[:20]
    return {
        "ruleId": _identify(outcome),
        "ruleIndex": number,
        "kind": KINDS[outcome.state],
        "level": "error" if outcome.state == "fail" else "none",
        "message": {"text": f"{outcome.name}: {outcome.figure or outcome.state}"},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": quote(place)}},
                "logicalLocations": [{"name": model, "kind": "object"}],
            }
        ],
        "partialFingerprints": {"raypipe/v1": fingerprint},
    }


def _identify(outcome: GateOutcome) -> str:
    return f"{outcome.kind}/{outcome.name}".replace(" ", "-")
