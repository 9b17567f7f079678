"""Lines of the settings in an experiment file, for the errors of its validation."""

from collections.abc import Sequence
from typing import Any

import yaml

Path = tuple[Any, ...]
"""Keys and positions that lead to a value."""
NOWHERE = 0
"""Line of a setting that an option of the command line gives."""
MERGE = "tag:yaml.org,2002:merge"


class Numbered(dict[str, Any]):
    """A mapping from a file.

    Attributes
    ----------
    lines
        Line of each setting, from 1, by its path.
    """

    def __init__(self, values: dict[str, Any], lines: dict[Path, int]) -> None:
        super().__init__(values)
        self.lines = lines


def find_lines(root: yaml.Node | None) -> dict[Path, int]:
    """Return the line of each value below a node, from 1, by its path. Merged keys have the line where they stand.

    Parameters
    ----------
    root
        Node without endless aliases.
    """
    lines: dict[Path, int] = {}
    waiting: list[tuple[Path, yaml.Node]] = [((), root)] if root else []
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            for place, item in enumerate(node.value):
                lines.setdefault((*path, place), item.start_mark.line + 1)
                waiting.append(((*path, place), item))
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag == MERGE:
                merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
                waiting[:0] = [(path, each) for each in merged]  # after the mapping's own keys, which have priority
            elif isinstance(key, yaml.ScalarNode):
                lines.setdefault((*path, key.value), key.start_mark.line + 1)
                waiting.append(((*path, key.value), value))
    return lines


def forget_lines(raw: dict[str, Any], changed: Sequence[str]) -> None:
    """Forget the lines of a setting, and of those below it, that does not come from the file any more."""
    if isinstance(raw, Numbered):
        for path in [path for path in raw.lines if path[: len(changed)] == tuple(changed)]:
            del raw.lines[path]
        raw.lines[tuple(changed)] = NOWHERE


def describe_line(raw: Any, path: Sequence[Any]) -> str:
    """Return the line of a setting or of the section that lacks it, for the end of a message; empty if not known."""
    if not isinstance(raw, Numbered):
        return ""
    known = [tuple(path[:depth]) for depth in range(len(path), 0, -1) if tuple(path[:depth]) in raw.lines]
    line = raw.lines[known[0]] if known else NOWHERE
    return "" if line == NOWHERE else f" (line {line})"
