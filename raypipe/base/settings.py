"""The base of every record that an experiment file fills in."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
"""Pattern of the id of a run, a model, an attack or a defense."""


class Settings(BaseModel):
    """Immutable, validated settings. A field that does not exist is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic takes for a number and YAML does not: ``true`` for 1, and ``1_0`` for 10."""
        underscored = isinstance(value, str) and "_" in value
        if (underscored or isinstance(value, bool)) and _takes_only_numbers(cls, str(info.field_name)):
            raise ValueError(f"expected a number{' without underscores' if underscored else f', not {value}'.lower()}")
        return value


@cache
def _takes_only_numbers(record: type[Settings], field: str) -> bool:
    kinds = _list_plain_types(record.model_fields[field].annotation)
    return bool(kinds & {int, float}) and not kinds & {bool, str}


def _list_plain_types(annotation: Any) -> set[Any]:
    """Return the types that a union or an annotated type is made of."""
    if not (parts := get_args(annotation)):
        return {annotation}
    kept = parts[:1] if get_origin(annotation) is Annotated else parts
    return set[Any]().union(*map(_list_plain_types, kept))


Entry = TypeVar("Entry")


def _read_ratio(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    numerator, slash, denominator = value.partition("/")
    try:
        return float(numerator) / float(denominator) if slash else value
    except (ValueError, ZeroDivisionError):
        return value


class _FractionForm:
    """Metadata of a number for the JSON schema: editors accept a fraction in its place."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(core), {"type": "string", "pattern": FRACTION}]}


FRACTION = r"^ *[-+]?[0-9.]+(e[-+]?[0-9]+)? */ *[-+]?[0-9.]+(e[-+]?[0-9]+)? *$"
"""Pattern of a number that is written as a fraction."""
Ratio = Annotated[float, BeforeValidator(_read_ratio), _FractionForm()]
"""A number that may be written as a fraction, such as ``8/255``."""


def fill_in_names(value: Any) -> Any:
    """Turn ``a``, ``[a]`` or ``{a: null}`` into ``{a: {name: a}}``: an entry without a name gets its id as name.

    Raises
    ------
    ValueError
        If a name is empty, or twice in a list.
    """
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        if twice := sorted({name for name in value if value.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is in the list more than once; keep one")
        value = dict.fromkeys(value)
    if not isinstance(value, Mapping):
        return value
    for number, key in enumerate(value, 1):
        if key == "":
            raise ValueError(f"the name of entry {number} is empty; give it a name, or leave it out")
    return {
        key: {"name": key, **(entry or {})} if entry is None or isinstance(entry, Mapping) else entry
        for key, entry in value.items()
    }


def require_plain_ids(entries: Mapping[str, Any]) -> None:
    """Require ids that can be part of the names of cells and folders.

    Raises
    ------
    ValueError
        If some ids cannot. The message names them.
    """
    if wrong := [key for key in entries if not ID.match(key)]:
        raise ValueError(f"ids {', '.join(map(repr, wrong))}: expected letters, digits, '_', '.' and '-'")


SHORTEST = 4
"""Number of letters from which on the beginning of a name is a match for it."""


def suggest_matches(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'resnet18'?"`` for an unknown name that resembles a known one, otherwise ``""``.

    Known names that begin with the unknown one, or with which it begins, have priority: ``eps`` for ``epsilon``.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.6)
    near = near or [each for each in known if len(name) >= SHORTEST and each.startswith(name)]
    near = ([each for each in near if each.startswith(name) or name.startswith(each)] or near)[:3]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def get_default_name(record: type[Settings], field: str = "name") -> str:
    """Return the default of a record's field that names it."""
    name: str = record.model_fields[field].default
    return name


def index_by_name(get_name: Callable[[Entry], str], *entries: Entry) -> dict[str, Entry]:
    """Return the entries of a registry by their names.

    Raises
    ------
    ValueError
        If two entries have the same name.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        name = get_name(entry)
        if name in found:
            raise ValueError(f"{found[name]} and {entry} are both named {name!r}: rename one")
        found[name] = entry
    return found


def choose_by(field: str, known: Mapping[str, type[Settings]]) -> BeforeValidator:
    """Return a validator that reads a mapping as the record that the mapping names in `field`.

    A tagged union of pydantic would do the same, but it puts its tags into the location of every error, and nothing can
    be added to `known` later.
    """

    return BeforeValidator(lambda value: read_named(value, field, known))


def read_named(value: Any, field: str, known: Mapping[str, type[Settings]], hint: str = "") -> Any:
    """Return the record that a mapping names in `field`. Return any other value unchanged.

    Raises
    ------
    ValidationError
        If the name is missing or unknown, or the record refuses the mapping. The message for a name ends with `hint`.
    """
    if not isinstance(value, Mapping):
        return value
    name = value.get(field)
    if not isinstance(name, str) or name not in known:
        raise _name_error(field, name, known, hint)
    return known[name].model_validate(value)


def _name_error(field: str, value: Any, known: Iterable[str], hint: str) -> ValidationError:
    """Return the error for a name that is missing or not in a registry.

    The error is located at `field`. Its message ends with `hint`.
    """
    if value is None:
        problem: InitErrorDetails = {"type": "missing", "loc": (field,), "input": value}
    else:
        names = list(known)
        near = suggest_matches(str(value), names)
        message = PydanticCustomError(
            "unknown_name", "expected one of {known}{hint}", {"known": ", ".join(names), "hint": near + hint}
        )
        problem = {"type": message, "loc": (field,), "input": value}
    return ValidationError.from_exception_data("Settings", [problem])
