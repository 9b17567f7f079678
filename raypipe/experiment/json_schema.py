"""JSON schema of experiment files, for editors: it is built from the records that validate an experiment.

It accepts the short forms of a file: lists of names, entries without settings, and fractions. Rules that concern
several settings at once are left to `raypipe validate`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from raypipe.attacks import ATTACKS
from raypipe.attacks.apgd import AutoProjectedGradient
from raypipe.attacks.art.backend import ArtAttack
from raypipe.attacks.autoattack import EnsembleBudget
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.norms import BoundedAttack
from raypipe.attacks.pgd import ProjectedGradient
from raypipe.attacks.universal import Universal
from raypipe.base.docstrings import put_on_one_line, read_docstring
from raypipe.base.settings import ID, Settings, get_default_name
from raypipe.corruptions import CORRUPTIONS
from raypipe.corruptions.choice import PATHOLOGY
from raypipe.data.sources import SOURCES
from raypipe.defenses import DEFENSES, PRESETS
from raypipe.defenses.adversarial_training import Search
from raypipe.defenses.base import Defense
from raypipe.defenses.search import Range, SettingsSearch
from raypipe.evaluation.external import ExternalTiles
from raypipe.evaluation.settings import Checks, Evaluation
from raypipe.experiment.schema import Experiment, Report, Resources, Tiles
from raypipe.models.backbones import BACKBONES
from raypipe.models.classifier import OWN, Model
from raypipe.training.recipe import Recipe

Schema = dict[str, Any]

SECTIONS: tuple[type[Settings], ...] = (
    *(Tiles, Recipe, Evaluation, EnsembleBudget, Checks, ExternalTiles, Universal),
    *(Search, SettingsSearch, Range, Report, Resources),
)
"""The records of sections that no registry lists."""
SCHEMA_PATH = Path(__file__).with_name("experiment.schema.json")
"""File of the schema, which the package contains and `make docs` writes."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"
FROM_ELSEWHERE = "^(torchvision|timm|module):.+"
"""Pattern of the names of models that the registry does not list."""
BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
"""Bounds that pydantic writes under its own names, and their names in JSON schema."""


def write_schema() -> str:
    """Return the JSON schema of experiment files as the text of its file."""
    return f"{json.dumps(build_schema(), indent=1)}\n"


def build_schema() -> Schema:
    """Return the JSON schema of experiment files."""
    attacks = {name: attack.settings for name, attack in ATTACKS.items()}
    defenses: dict[str, type[Settings]] = {**DEFENSES, **PRESETS}
    sources = {name: entry.settings for name, entry in SOURCES.items()}
    records: list[type[Settings]] = [*attacks.values(), *defenses.values(), *sources.values(), *SECTIONS]
    records += [ArtAttack, Model, Experiment]
    places, whole = models_json_schema([(record, "validation") for record in dict.fromkeys(records)])
    reference = {record: places[record, "validation"] for record in records}
    definitions: dict[str, Schema] = _tidy(whole["$defs"])
    for record in reference:
        _describe(definitions[record.__name__], record)
    for record in (ArtAttack, Model):  # an entry without a name gets its id as name
        definitions[record.__name__]["required"].remove("name")

    def refer(known: Mapping[str, type[Settings]]) -> dict[str, Schema]:
        return {name: reference[record] for name, record in known.items()}

    def settings_of(record: type[Settings]) -> dict[str, Schema]:
        properties: dict[str, Schema] = definitions[record.__name__]["properties"]
        return properties

    definitions["AnyAttack"] = {
        "if": {"properties": {"backend": {"const": "art"}}, "required": ["backend"]},
        "then": reference[ArtAttack],
        "else": _choose("name", refer(attacks)),
    }
    definitions["AnyDefense"] = _choose("name", refer(defenses))
    bounded = {get_default_name(record): reference[record] for record in (ProjectedGradient, AutoProjectedGradient)}
    split, augment = settings_of(Tiles)["split"], settings_of(Recipe)["augment"]
    forms: dict[type[Settings], dict[str, Schema]] = {
        Experiment: {
            "data": _choose("source", refer(sources)),
            "models": _describe_models(reference[Model]),
            "attacks": _describe_entries(refer(attacks), {"$ref": "#/$defs/AnyAttack"}),
            "defenses": _describe_entries(refer(defenses), {"$ref": "#/$defs/AnyDefense"}),
        },
        Evaluation: {
            "attacks": _describe_entries(refer(attacks), {"$ref": "#/$defs/AnyAttack"}),
            "bounded": _choose("name", bounded),
            "corruptions": _describe_one_or_more([PATHOLOGY], {"enum": [*CORRUPTIONS]}),
        },
        ExternalTiles: {"data": _choose("source", refer(sources))},
        Tiles: {"split": _describe_one_or_more([], split["items"])},
        Recipe: {"augment": _describe_one_or_more(["none", None], augment["items"])},
        Model: {"resize": {"anyOf": [*settings_of(Model)["resize"]["anyOf"], {"const": OWN}]}},
    }
    for record, settings in forms.items():
        for name, form in settings.items():
            about = settings_of(record)[name].get("description", "")
            settings_of(record)[name] = {"description": about, **form}
    definitions["Queries"]["required"].remove("attacks")  # the usual ones, which depend on the norm
    top = definitions.pop("Experiment")
    for base in (BoundedAttack, Defense, NamedAttack, Settings):  # the registries' records replace them
        del definitions[base.__name__]
    return {"$schema": DIALECT, "title": "Experiment of raypipe", **top, "$defs": definitions}


def _describe(schema: Schema, record: type[Settings]) -> None:
    """Describe a record and its settings in the words of its docstring, which editors show."""
    texts: dict[str, str] = {}
    for base in reversed(record.__mro__):
        texts |= read_docstring(base).parameters
    schema["description"] = put_on_one_line(read_docstring(record).text.split("\n\n")[0])
    for name, setting in schema.get("properties", {}).items():
        if name in texts:
            setting["description"] = texts[name]


def _choose(field: str, known: Mapping[str, Schema]) -> Schema:
    """Return the schema of a mapping that names its record in a field."""
    rules = [
        {"if": {"properties": {field: {"const": name}}, "required": [field]}, "then": record}
        for name, record in known.items()
    ]
    return {"type": "object", "required": [field], "properties": {field: {"enum": [*known]}}, "allOf": rules}


def _describe_entries(known: Mapping[str, Schema], named: Schema) -> Schema:
    """Return the schema of a section of entries by id: a name, several, or a mapping with or without settings.

    Parameters
    ----------
    known
        Schema of the settings by the names of a registry. An id among them needs no name.
    named
        Schema of an entry that gives its name.
    """
    properties = {
        name: {
            "if": {"type": "object", "anyOf": [{"required": ["name"]}, {"required": ["backend"]}]},
            "then": named,
            "else": {"anyOf": [{"type": "null"}, record]},
        }
        for name, record in known.items()
    }
    return _describe_section({"enum": [*known]}, {"properties": properties, "additionalProperties": named})


def _describe_models(model: Schema) -> Schema:
    """Return the schema of the section of models. Their ids may have colons, which become hyphens."""
    optional = {"anyOf": [{"type": "null"}, model]}
    entries = {
        "properties": dict.fromkeys(BACKBONES, optional),
        "patternProperties": {FROM_ELSEWHERE: optional},
        "additionalProperties": {"allOf": [{"type": "object", "required": ["name"]}, model]},
    }
    names = {"anyOf": [{"enum": [*BACKBONES]}, {"type": "string", "pattern": FROM_ELSEWHERE}]}
    section = _describe_section(names, entries)
    section["anyOf"][1]["propertyNames"] = {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.:-]*$"}
    return section


def _describe_section(name: Schema, entries: Schema) -> Schema:
    ids = {"pattern": ID.pattern.replace(r"\Z", "$")}
    return {
        "anyOf": [
            {"type": "array", "items": name},
            {"type": "object", "propertyNames": ids, **entries},
            name,
        ]
    }


def _describe_one_or_more(words: list[str | None], item: Schema) -> Schema:
    """Return the schema of one value, a list of values, or one of some words that stand for a list."""
    single = [{"enum": words}] if words else []
    return {"anyOf": [*single, item, {"type": "array", "items": item}]}


def _tidy(schema: Any) -> Any:
    """Return a schema without generated titles and the defaults of sections, and with the standard names of bounds."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = {"title"} if isinstance(schema.get("title"), str) else set()
    dropped |= {"default"} if "$ref" in schema else set()
    return {BOUNDS.get(key, key): _tidy(value) for key, value in schema.items() if key not in dropped}
