"""Reading of experiment files: a validated experiment, or all errors at once with the paths of their fields."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from raypipe.base.errors import ConfigError
from raypipe.experiment.lines import Numbered, describe_line, find_lines, forget_lines
from raypipe.experiment.plain_yaml import PlainLoader, RefusedYamlError, read_int
from raypipe.experiment.schema import Experiment
from raypipe.experiment.suggestions import list_settings_at, suggest_settings

LONGEST = 2**16
"""Largest number of characters of an experiment file, which PyYAML reads in a second or two. The longest of this
project has 3,000."""
LARGEST = 10_000
"""Largest number of values in an experiment, with those that YAML's aliases repeat counted each time. The largest of
this project has 150."""
SHOWN = 200
"""Number of characters of a wrong value that its message shows."""
DIGITS = 25
"""Largest number of characters of an integer in any form, and the number of them that a message shows."""


def load_experiment(path: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read and validate an experiment file.

    Parameters
    ----------
    path
        Path of a YAML file.
    overrides
        Overrides as ``section.field=value``, applied before validation. The value is read as YAML.

    Raises
    ------
    ConfigError
        If the file has errors. The message lists all of them.
    """
    return validate_experiment(read_experiment(path, overrides), str(path))


def read_experiment(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Read an experiment file without validation, and apply overrides.

    Raises
    ------
    ConfigError
        If the file cannot be read or is not a mapping, or if an override does not fit into it.
    """
    source = str(path)
    try:
        with Path(path).open(encoding="utf-8") as file:
            raw, lines = _read_yaml(file.read(LONGEST + 1))
    except OSError as error:
        raise ConfigError(source, [f"cannot be read: {error.strerror}; give the path of an experiment file"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(source, [f"is not UTF-8 text ({error}); save it as UTF-8"]) from error
    except ValueError as error:
        raise ConfigError(source, [str(error)]) from error
    if raw is None:
        raise ConfigError(source, ["is empty; expected settings such as name, data, models and attacks"])
    if not isinstance(raw, dict):
        raise ConfigError(source, [f"expected a mapping of settings, got {type(raw).__name__}"])
    return apply_overrides(Numbered(raw, lines), overrides, source)


def apply_overrides(raw: dict[str, Any], overrides: Iterable[str], source: str) -> dict[str, Any]:
    """Apply overrides, ``a.b.c=value``, to a mapping of settings in place, and return it.

    Raises
    ------
    ConfigError
        If an override does not fit into it.
    """
    if problems := [p for override in overrides if (p := _override(raw, override))]:
        raise ConfigError(source, problems)
    return raw


def validate_experiment(raw: dict[str, Any], source: str = "experiment") -> Experiment:
    """Validate a mapping and return it as an experiment.

    Raises
    ------
    ConfigError
        If the mapping has errors. The message lists all of them.
    """
    experiment: Experiment = validate_settings(Experiment, raw, source)
    return experiment


def validate_settings(kind: Any, raw: Any, source: str) -> Any:
    """Validate a mapping and return it as settings of some kind. Raise the errors of `validate_experiment`.

    Parameters
    ----------
    kind
        Record, or a type such as `raypipe.attacks.AttackSettings`.
    raw, source
        Mapping, and its name in errors.
    """
    try:
        return TypeAdapter(kind).validate_python(raw)
    except ValidationError as error:
        raise ConfigError(source, [_describe(problem, kind, raw) for problem in error.errors()]) from error


def _override(raw: dict[str, Any], override: str) -> str | None:
    """Apply ``a.b.c=value`` in place. Return a message if that fails, otherwise None."""
    path, separator, text = override.partition("=")
    parts = path.strip().split(".")
    if not separator or not all(parts):
        return f"--set {override}: expected field.path=value, as in train.epochs=3"
    node = raw
    for depth, part in enumerate(parts[:-1]):
        child = node.get(part)
        if isinstance(child, list) and all(isinstance(item, str) for item in child):
            child = dict.fromkeys(child)
        if not isinstance(child, dict | None):
            return f"--set {override}: {'.'.join(parts[: depth + 1])} is a value, not a section"
        node[part] = child if child is not None else {}
        node = node[part]
    try:
        node[parts[-1]], _ = _read_yaml(text)
        forget_lines(raw, parts)
    except ValueError:
        return f"--set {_shorten(override)}: {_shorten(repr(text))} is not a YAML value"
    return None


def _read_yaml(text: str) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """Return the plain values of YAML text, and their lines. Raise ValueError with the reason if that fails."""
    if len(text) > LONGEST:
        raise ValueError(f"has more than {LONGEST:,} characters; give the path of an experiment file")
    try:
        loader = PlainLoader(text)
        root = loader.get_single_node()
        _require_few_distinct(root)
        lines = find_lines(root)  # before merge keys are replaced
        return loader.construct_document(root) if root else None, lines
    except RecursionError:
        raise ValueError("is nested too deeply; an experiment needs half a dozen levels") from None
    except RefusedYamlError:
        raise
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"is not YAML: {_place(error)}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"is not YAML: line {line}: the character {error.character:#x} is not allowed") from error
    except Exception as error:
        # Besides its own errors PyYAML raises those of int(), date() and others: ValueError, KeyError, ...
        raise ValueError(f"is not YAML: {error}") from error


def _place(error: yaml.MarkedYAMLError) -> str:
    """Return the reason of an error and its place, without PyYAML's name for text that comes from no stream."""
    mark = error.problem_mark or error.context_mark
    reason = ", ".join(filter(None, (error.context, error.problem)))
    reason += "; write spaces instead of tabs" if "'\\t'" in reason else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {reason}" if mark else reason


def _require_few_distinct(root: yaml.Node | None) -> None:
    """Require a small document, with its aliases expanded, and different keys, before values are built from it."""
    waiting, count, repeated = [root] if root else [], 0, dict[int, str]()
    while waiting:
        node = waiting.pop()
        count += 1
        if count > LARGEST:
            raise RefusedYamlError(
                f"holds more than {LARGEST:,} values once its aliases (`*name`) are followed; write out what is needed"
            )
        if isinstance(node, yaml.MappingNode):
            repeated |= dict(_find_repeated_keys(node))
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif node.tag == "tag:yaml.org,2002:int" and _is_too_large(node.value):
            line, shown = node.start_mark.line + 1, f"{node.value[:DIGITS]}{'...' * (len(node.value) > DIGITS)}"
            raise RefusedYamlError(f"holds the number {shown} in line {line}; none may have more than 64 bits")
    if repeated:
        raise RefusedYamlError(f"has {'; '.join(repeated[line] for line in sorted(repeated))}; keep one of each")


def _is_too_large(text: str) -> bool:
    """Return True for an integer beyond 64 bits. Its digits are counted first, because reading many takes long."""
    return len(text) > DIGITS or abs(read_int(text)) >= 2**64


def _find_repeated_keys(node: yaml.MappingNode) -> Iterator[tuple[int, str]]:
    """Yield the line of each key that its mapping has before, and the words that say so."""
    seen: dict[tuple[str, str], yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        first = seen.setdefault((key.tag, key.value), key)
        if first is not key:
            line = key.start_mark.line + 1
            yield line, f"the key {key.value!r} twice, in line {first.start_mark.line + 1} and in line {line}"


def _describe(problem: Any, kind: Any, raw: Any) -> str:
    """Return one of pydantic's errors as ``field.path = value: what is expected``."""
    line = describe_line(raw, problem["loc"])
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
    message = problem["msg"].removeprefix("Value error, ")
    match problem["type"]:
        case "missing":
            return f"{path}: required, but not given{line}"
        case "extra_forbidden":
            *place, name = problem["loc"]
            return f"{path}: no such setting{suggest_settings(name, list_settings_at(kind, raw, place))}{line}"
        case "string_type" if isinstance(problem["input"], int | float):
            message += "; put it in quotes"
    shown = "" if isinstance(problem["input"], dict | list) else f" = {_shorten(repr(problem['input']))}"
    return f"{path or 'experiment'}{shown}: {message[:1].lower() + message[1:]}{line}"


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
