"""Software bill of materials of a run: every installed Python distribution, in CycloneDX's JSON format."""

import importlib.metadata
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from raypipe.base.version import __version__

BILL_FILE = "sbom.cdx.json"
SPECIFICATION = "1.6"
LONGEST_LICENSE = 80
"""Largest number of characters of a license's name. Longer fields are whole license texts."""
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")


def describe_distributions(
    distributions: Iterable[importlib.metadata.Distribution] | None = None, now: datetime | None = None
) -> dict[str, Any]:
    """Return the bill of materials as an object of CycloneDX 1.6.

    Parameters
    ----------
    distributions
        Distributions to list; None means all that this Python finds. Of two with the same name the first counts, as in
        an import.
    now
        Time of the bill; None means the present.

    References
    ----------
    OWASP CycloneDX, ECMA-424: https://cyclonedx.org/docs/1.6/json.
    """
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions() if distributions is None else distributions:
        if distribution.metadata["Name"]:
            found.setdefault(_normalize(distribution.metadata["Name"]), distribution)
    addresses = {name: _write_address(name, each.version) for name, each in sorted(found.items())}
    content = json.dumps(list(addresses.values()))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "timestamp": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
            "component": {"type": "application", "name": "raypipe run", "version": __version__},
        },
        "components": [_describe(name, found[name], address) for name, address in addresses.items()],
        "dependencies": [
            {"ref": address, "dependsOn": sorted(set(_list_needed(found[name], addresses)) - {address})}
            for name, address in addresses.items()
        ],
    }


def _describe(name: str, distribution: importlib.metadata.Distribution, address: str) -> dict[str, Any]:
    about = {"type": "library", "bom-ref": address, "name": name, "version": distribution.version, "purl": address}
    licenses = [dict(each) for each in _list_licenses(distribution)]
    return {**about, "licenses": licenses} if licenses else about


def _list_licenses(distribution: importlib.metadata.Distribution) -> Iterator[Mapping[str, Any]]:
    """Yield the license: an SPDX expression, or else a name."""
    about = distribution.metadata
    if "License-Expression" in about:
        yield {"expression": about["License-Expression"]}
        return
    name = about["License"] if "License" in about else ""  # noqa: SIM401  metadata has no method `get`
    prefix = "License :: "
    named = [each.rsplit(" :: ", 1)[1] for each in about.get_all("Classifier") or () if each.startswith(prefix)]
    for each in named or [name]:
        if each and len(each) <= LONGEST_LICENSE and "\n" not in each:
            yield {"license": {"name": each}}


def _list_needed(distribution: importlib.metadata.Distribution, addresses: Mapping[str, str]) -> Iterator[str]:
    """Yield the addresses of the installed distributions that a distribution requires without an extra."""
    for requirement in distribution.requires or ():
        name = _REQUIREMENT.match(requirement)
        if name and "extra ==" not in requirement and _normalize(name[0]) in addresses:
            yield addresses[_normalize(name[0])]


def _write_address(name: str, version: str) -> str:
    """Return the package URL of a distribution."""
    return f"pkg:pypi/{name}@{quote(version)}"


def _normalize(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
