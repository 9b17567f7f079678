"""YAML as version 1.2 defines it: PyYAML reads version 1.1, where 010 is 8, 1:30 is 90 and yes is true."""

import re
from typing import Any

import yaml


class RefusedYamlError(ValueError):
    """Error for YAML that is valid but too large or ambiguous."""


class PlainLoader(yaml.SafeLoader):
    """A safe loader with the scalars of YAML 1.2's core schema; merge keys (``<<``) still work."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own name and form


def read_int(text: str) -> int:
    """Return the integer that a plain scalar is, in decimal, octal (0o) or hexadecimal (0x) form."""
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text if base == 10 else text[2:], base)


def _construct_int(loader: PlainLoader, node: yaml.ScalarNode) -> int:
    return read_int(str(loader.construct_scalar(node)))


SCALARS: tuple[tuple[str, str, str], ...] = (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("null", "~|null|Null|NULL|", "~nN"),
    ("merge", "<<", "<"),
)
"""Type, pattern and first characters of the plain scalars; the first pattern that fits decides."""
for _kind, _pattern, _first in SCALARS:
    PlainLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), [*_first, *([""] if _kind == "null" else [])]
    )
PlainLoader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def _construct_float(loader: PlainLoader, node: yaml.ScalarNode) -> Any:
    text = str(loader.construct_scalar(node)).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


PlainLoader.add_constructor("tag:yaml.org,2002:float", _construct_float)
