"""Descriptions for users, read from the docstrings of modules and of records of settings."""

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from raypipe.base.rounding import write_fraction
from raypipe.base.setting_types import list_setting_types
from raypipe.base.settings import Settings

SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$\n", re.M)
ENTRY = re.compile(r"^(\S.*)\n((?:[ ]+.*\n|\n)*)", re.M)
SUMMARY = re.compile(r"(?P<title>[^:]+?) \((?P<source>[^()]+)\): (?P<purpose>.+)\.")


class Summary(NamedTuple):
    """The first paragraph of a module that defines a method: ``Title (authors, year, arXiv): purpose.``."""

    title: str
    source: str
    purpose: str


class Setting(NamedTuple):
    """A setting, its type and range, its default as text ("required" if it has none), and its description."""

    name: str
    type: str
    range: str
    default: str
    description: str


def summarize(settings: type[Any]) -> Summary:
    """Return the summary of the module that defines a record of settings.

    Raises
    ------
    ValueError
        If the first paragraph of the module's docstring has another form.
    """
    paragraph = read_first_paragraph(settings)
    found = SUMMARY.fullmatch(paragraph)
    if found is None:
        raise ValueError(
            f"docstring of {settings.__module__}: {paragraph!r}: expected 'Title (authors, year, arXiv): purpose.'"
        )
    return Summary(**found.groupdict())


def read_first_paragraph(record: type[Any]) -> str:
    """Return the first paragraph of the docstring of the module that defines a record."""
    docstring = inspect.getdoc(sys.modules[record.__module__]) or ""
    return put_on_one_line(docstring.split("\n\n")[0])


def list_settings(record: type[Settings]) -> Iterator[Setting]:
    """Yield the settings of a record, without the fields whose default names it."""
    texts: dict[str, str] = {}
    for base in reversed(record.__mro__):
        texts |= read_docstring(base).parameters
    types = list_setting_types(record)
    for name, field in record.model_fields.items():
        if name not in ("backend", "source") and not (name == "name" and not field.is_required()):
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            text = "required" if field.is_required() else write_value(default)
            yield Setting(name, *types[name], text, texts.get(name, ""))


def write_value(value: Any) -> str:
    """Return a setting's value as an experiment file has it, with ``8/255`` for 0.0314 and ``none`` for no value."""
    match value:
        case None:
            text = "none"
        case bool():
            text = str(value).lower()
        case float():
            text = write_fraction(value)
        case tuple():
            text = f"[{', '.join(map(write_value, value))}]"
        case dict():
            text = f"{{{', '.join(f'{key}: {write_value(each)}' for key, each in value.items())}}}"
        case Settings():
            text = "section"
        case _:
            text = str(value)
    return text


class Docstring(NamedTuple):
    """A docstring: its text before the first section, and the entries of each section by their heads."""

    text: str
    sections: dict[str, dict[str, str]]

    @property
    def parameters(self) -> dict[str, str]:
        """The description of each parameter; parameters that share a description have it each."""
        return {
            name.strip(" *"): description
            for head, description in self.sections.get("Parameters", {}).items()
            for name in head.partition(" : ")[0].split(",")
        }


def read_docstring(item: object) -> Docstring:
    """Return the docstring of a class or function, without the docstring that it inherits."""
    own = item.__dict__.get("__doc__") if inspect.isclass(item) else item.__doc__
    text, *rest = SECTION.split(inspect.cleandoc(own or "") + "\n")
    sections = {
        name: {head: put_on_one_line(body) for head, body in ENTRY.findall(body)}
        for name, body in zip(rest[::2], rest[1::2], strict=True)
    }
    return Docstring(text.strip(), sections)


def put_on_one_line(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())
