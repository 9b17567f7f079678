"""Types and ranges of settings in words, from the JSON schema of their record."""

from collections.abc import Iterator, Mapping
from typing import Any

from raypipe.base.rounding import write_fraction
from raypipe.base.settings import FRACTION, Settings

WORDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "object": "mapping"}
BOUNDS = {
    "exclusiveMinimum": "> {}",
    "minimum": ">= {}",
    "exclusiveMaximum": "< {}",
    "maximum": "<= {}",
    "gt": "> {}",
    "ge": ">= {}",
    "lt": "< {}",
    "le": "<= {}",
}
"""The keys of a range in a JSON schema, with pydantic's own where it writes no standard key, and their text."""
SHORT = {4294967296: "2^32"}
"""Text of bounds that nobody recognizes as a number."""


def list_setting_types(record: type[Settings]) -> dict[str, tuple[str, str]]:
    """Return the type and the range of each setting of a record, by the name of the setting.

    A range is empty if the type has none. ``none`` is part of a type where a file may write ``null``.
    """
    properties = record.model_json_schema().get("properties", {})
    return {
        name: (" or ".join(dict.fromkeys(_list_types(each))), ", ".join(dict.fromkeys(_list_bounds(each))))
        for name, each in properties.items()
    }


def _list_types(schema: Mapping[str, Any]) -> Iterator[str]:
    if "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _list_types(each)
    elif "$ref" in schema:
        yield "section"
    elif "const" in schema or "enum" in schema:
        yield ", ".join(str(value) for value in schema.get("enum", [schema.get("const")]))
    elif schema.get("pattern") == FRACTION:
        yield "fraction"
    elif schema.get("type") == "null":
        yield "none"
    elif schema.get("type") == "array":
        items = dict.fromkeys(name for item in _list_items(schema) for name in _list_types(item))
        yield f"list of {' or '.join(items) or 'values'}"
    else:
        yield WORDS.get(schema.get("type", ""), "any value")


def _list_items(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*schema.get("prefixItems", []), *([schema["items"]] if schema.get("items") else [])]


def _list_bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the bounds of a value and, for lists and alternatives, those of its parts."""
    for key, text in BOUNDS.items():
        if key in schema:
            yield text.format(SHORT.get(schema[key]) or write_fraction(schema[key]))
    for part in (*schema.get("anyOf", []), *_list_items(schema)):
        yield from _list_bounds(part)
