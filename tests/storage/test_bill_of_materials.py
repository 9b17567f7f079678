"""The software bill of materials in CycloneDX's JSON format."""

import email.message
import importlib.metadata
import json
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raypipe.storage.bill_of_materials import BILL_FILE, describe_distributions
from raypipe.storage.environment import describe_environment, write_environment
from raypipe.storage.store import Store

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Installed(importlib.metadata.Distribution):
    """A distribution with given metadata."""

    def __init__(self, requires: list[str] | None = None, **fields: str) -> None:
        self.fields, self.needs = fields, requires

    @property
    def metadata(self) -> Any:
        message = email.message.Message()
        for name, value in self.fields.items():
            message[name.replace("_", "-")] = value
        return message

    @property
    def version(self) -> str:
        return self.fields["Version"]

    @property
    def requires(self) -> list[str] | None:
        return self.needs

    def read_text(self, filename: str) -> str | None:
        raise NotImplementedError(filename)

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError(path)


SOME = [
    Installed(
        ["B.package>=1; python_version > '3'", "absent", "c; extra == 'more'"], Name="A_Package", Version="1.0+cpu",
        License_Expression="MIT OR Apache-2.0",
    ),
    Installed(None, Name="b-package", Version="2", License="BSD License"),
    Installed([], Name="c", Version="3", License="A whole text\nof a license"),
    Installed([], Name="C", Version="2.9"),
]  # fmt: skip


def test_components_have_addresses_versions_licenses_and_dependencies() -> None:
    bill = describe_distributions(SOME, NOW)
    assert [(each["name"], each["version"], each["purl"]) for each in bill["components"]] == [
        ("a-package", "1.0+cpu", "pkg:pypi/a-package@1.0%2Bcpu"),
        ("b-package", "2", "pkg:pypi/b-package@2"),
        ("c", "3", "pkg:pypi/c@3"),
    ]
    assert [each.get("licenses") for each in bill["components"]] == [
        [{"expression": "MIT OR Apache-2.0"}],
        [{"license": {"name": "BSD License"}}],
        None,
    ]
    assert bill["dependencies"][0]["dependsOn"] == ["pkg:pypi/b-package@2"], "neither the absent one nor the extra"


def test_the_bill_has_what_the_format_requires_and_repeats() -> None:
    bill = describe_distributions(SOME, NOW)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["metadata"]["timestamp"] == "2026-01-02T03:04:05+00:00"
    assert uuid.UUID(bill["serialNumber"].removeprefix("urn:uuid:"))
    assert bill == describe_distributions(SOME, NOW)
    assert bill["serialNumber"] != describe_distributions(SOME[:1], NOW)["serialNumber"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bill")
    write_environment(Store.open(str(folder)), "run", describe_environment(1, {}))
    found: dict[str, Any] = json.loads(Path(folder, "runs", "run", BILL_FILE).read_text())
    return found


def test_a_run_lists_every_installed_distribution_once(stored: dict[str, Any]) -> None:
    names = [each["name"] for each in stored["components"]]
    assert len(names) == len(set(names))
    installed = {re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower() for each in importlib.metadata.distributions()}
    assert set(names) == installed
    assert {"torch", "ray", "numpy"} <= set(names)


def test_references_are_unique_and_exist(stored: dict[str, Any]) -> None:
    known = [each["bom-ref"] for each in stored["components"]]
    assert len(known) == len(set(known))
    for each in stored["dependencies"]:
        assert each["ref"] in known
        assert set(each["dependsOn"]) <= set(known)
    (torch,) = (each for each in stored["dependencies"] if each["ref"].startswith("pkg:pypi/torch@"))
    assert any(needed.startswith("pkg:pypi/sympy@") for needed in torch["dependsOn"])
