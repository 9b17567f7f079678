"""Suggestions for a setting that does not exist: the settings that its place in an experiment file takes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from raypipe.attacks import ATTACKS, AttackSettings
from raypipe.attacks.art.backend import ArtAttack
from raypipe.base.settings import Settings, suggest_matches
from raypipe.data.sources import SOURCES
from raypipe.defenses import DEFENSES, PRESETS
from raypipe.evaluation.external import ExternalTiles
from raypipe.models.classifier import Model

SECTIONS = ("models", "attacks", "defenses", "external")
"""Sections of entries by id."""


def list_settings_at(kind: Any, raw: Any, place: Sequence[Any]) -> tuple[str, ...]:
    """Return the names of the settings that a place takes, or none if the place is unknown.

    Parameters
    ----------
    kind
        Record or type that was validated, as in `raypipe.experiment.load.validate_settings`.
    raw
        Mapping that was validated.
    place
        Path of the mapping with the unknown setting, as pydantic writes it: ``("attacks", "pgd")``.
    """
    record = _find_record("attacks", raw, "") if kind is AttackSettings else kind
    node, parts = raw, list(place)
    while parts and record is not None:
        part = parts.pop(0)
        node = _get(node, part)
        if part in SECTIONS and parts:
            entry = parts.pop(0)
            node = _get(node, entry)
            record = _find_record(part, node, str(entry))
        elif part in ("data", "bounded"):
            record = _find_record(part, node, "")
        else:
            record = _get_section(record, part)
    return tuple(record.model_fields) if record is not None else ()


def suggest_settings(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown setting: near names among the known ones, or all known ones."""
    known = [each for each in known if each not in ("name", "source", "backend")]
    return suggest_matches(str(name), known) or (f"; expected some of {', '.join(known)}" if known else "")


def _find_record(section: str, entry: Any, entry_id: str) -> type[Settings] | None:
    """Return the record that an entry of a section chooses by its name, or by its id if it gives none."""
    name = _get(entry, "source" if section == "data" else "name") or entry_id
    match section:
        case "data":
            return SOURCES[name].settings if name in SOURCES else None
        case "models":
            return Model
        case "external":
            return ExternalTiles
        case "defenses":
            return {**DEFENSES, **PRESETS}.get(name)
    if _get(entry, "backend") == "art":
        return ArtAttack
    return ATTACKS[name].settings if name in ATTACKS else None


def _get_section(record: type[Settings], field: Any) -> type[Settings] | None:
    """Return the record of a section of a record, or None if the field is no section."""
    if field not in record.model_fields:
        return None
    annotation = record.model_fields[field].annotation
    kinds = [each for each in (annotation, *get_args(annotation)) if isinstance(each, type)]
    return next((each for each in kinds if issubclass(each, Settings)), None)


def _get(node: Any, key: Any) -> Any:
    return node.get(key) if isinstance(node, Mapping) else None
