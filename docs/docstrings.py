"""Docstrings in the numpy style as Markdown."""

import inspect
import re
from collections.abc import Iterable
from typing import NamedTuple

SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$\n", re.M)
ENTRY = re.compile(r"^(\S.*)\n((?:[ ]+.*\n|\n)*)", re.M)


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
        name: {head: one_line(body) for head, body in ENTRY.findall(body)}
        for name, body in zip(rest[::2], rest[1::2], strict=True)
    }
    return Docstring(text.strip(), sections)


def one_line(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(columns)]
    lines += [["---"] * len(lines[0]), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"
