"""The commands `raypipe list` and `raypipe describe`: everything that an experiment can name, and its settings."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from raypipe.base.errors import ConfigError
from raypipe.cli.detail import detail
from raypipe.cli.options import AsJson, RunStorage, open_store
from raypipe.cli.runs import list_runs
from raypipe.cli.terminal import output, print_json

if TYPE_CHECKING:  # both import pydantic
    from raypipe.base.docstrings import Setting
    from raypipe.base.settings import Settings

NARROW = 72
"""Number of columns below which the table of settings becomes a list."""
Kind = Literal["attacks", "defenses", "models", "data", "corruptions", "runs"]
FORMER = {"backbones": "models"}
"""Kinds under the names that they had before."""


def complete_kinds(incomplete: str) -> list[str]:
    """Return the kinds that begin with the typed letters, for the completion of a shell."""
    return [kind for kind in get_args(Kind) if kind.startswith(incomplete)]


def list_entries(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help=f"One of {', '.join(get_args(Kind))}.", autocompletion=complete_kinds),
    ],
    storage: RunStorage = "results",
    as_json: AsJson = False,
) -> None:
    """List the attacks, defenses, models, data sets or corruptions that an experiment can name, or a store's runs."""
    kind = FORMER.get(kind, kind)
    entries = dict(_list_entries(kind, storage))
    if as_json:
        print_json(entries)
        return
    console = output()
    if detail() == "quiet":
        for name in entries:
            console.print(name, soft_wrap=True, highlight=False, markup=False)
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in entries.items():
        table.add_row(Text(name), Text(text))
    console.print(table)
    if not entries:
        console.print(f"There is no run in {storage} yet.", soft_wrap=True, highlight=False)
    elif kind == "models":
        console.print(f"\n{ELSEWHERE}\nSettings of one: raypipe describe NAME", highlight=False, soft_wrap=True)
    elif kind != "runs":
        console.print("\nSettings of one: raypipe describe NAME", highlight=False)


ELSEWHERE = (
    "Any other classifier: torchvision:NAME, timm:NAME, or module:PACKAGE.MODULE:FUNCTION for a network of your own."
)


def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Attack, defense, model, data set or corruption.")],
    as_json: AsJson = False,
) -> None:
    """Describe an attack, a defense, a model, a data set or a corruption, with all settings."""
    from raypipe.base.docstrings import list_settings
    from raypipe.base.settings import suggest_matches
    from raypipe.data.sources import SOURCES

    records = _collect_records()
    if name not in records:
        hint = suggest_matches(name, records) or f"; `raypipe list {'|'.join(get_args(Kind)[:-1])}` lists the names"
        raise ConfigError("describe", [f"{name}: no attack, defense, model, data set or corruption of this name{hint}"])
    # Models come last, because their weights are looked up in libraries that take seconds to import.
    kinds = sorted(get_args(Kind)[:-1], key=lambda kind: kind == "models")
    text = next(text for kind in kinds for each, text in _list_entries(kind, "") if each == name)
    found = list_settings(record) if (record := records[name]) else ()
    settings = [each._replace(description=each.description.replace("`", "")) for each in found]
    if as_json:
        print_json({"name": name, "about": text, "settings": [setting._asdict() for setting in settings]})
        return
    console = output()
    if detail() == "quiet":
        for setting in settings:
            console.print(setting.name)
        return
    console.print(Text.assemble((name, "bold"), f"  {text}"))
    if settings:
        console.print(_tabulate_settings(settings, console.width))
    if name in SOURCES and (about_data := SOURCES[name].published):
        console.print(f"License: {about_data.license}\nGroups: {about_data.groups}\n{about_data.where}", markup=False)


def _tabulate_settings(settings: "list[Setting]", width: int) -> Table:
    """Return the table of settings. On a narrow terminal the description has a row of its own."""
    columns = ("setting", "type", "range", "default")
    if width < NARROW:
        rows = Table.grid(padding=(0, 1))
        rows.add_column(overflow="fold")
        for each in settings:
            facts = ", ".join(filter(None, (each.type, each.range, f"default {each.default}")))
            rows.add_row(Text.assemble((each.name, "bold"), f" ({facts}): {each.description}"))
        return rows
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in (*columns, "meaning"):
        table.add_column(heading, overflow="fold")
    for setting in settings:
        table.add_row(*map(Text, setting))
    return table


def _collect_records() -> "dict[str, type[Settings] | None]":
    """Return the record of the settings of everything that an experiment can name; None for what has no settings."""
    from raypipe.attacks import ATTACKS
    from raypipe.corruptions import CORRUPTIONS
    from raypipe.data.sources import SOURCES
    from raypipe.defenses import DEFENSES, PRESETS
    from raypipe.models.backbones import BACKBONES
    from raypipe.models.classifier import Model

    records: dict[str, type[Settings] | None] = {**dict.fromkeys(CORRUPTIONS), **dict.fromkeys(BACKBONES, Model)}
    records |= {name: entry.settings for name, entry in SOURCES.items()}
    return records | {**DEFENSES, **PRESETS, **{name: attack.settings for name, attack in ATTACKS.items()}}


def _list_entries(kind: str, storage: str) -> Iterator[tuple[str, str]]:
    """Yield the names of one kind, each with a description of one line."""
    match kind:
        case "attacks":
            from raypipe.attacks import ATTACKS

            yield from ((name, _name_method(attack.settings)) for name, attack in ATTACKS.items())
        case "defenses":
            from raypipe.defenses import DEFENSES, PRESETS

            yield from ((name, _name_method(settings)) for name, settings in {**DEFENSES, **PRESETS}.items())
        case "models":
            from raypipe.models.backbones import BACKBONES

            for name, backbone in BACKBONES.items():
                yield name, f"pretrained weights: {', '.join(backbone.published()) or 'none'}"
        case "data":
            from raypipe.base.docstrings import read_first_paragraph
            from raypipe.data.sources import SOURCES

            for name, entry in SOURCES.items():
                yield name, entry.published.title if entry.published else read_first_paragraph(entry.settings)
        case "corruptions":
            from raypipe.corruptions import CORRUPTIONS

            for name, corruption in CORRUPTIONS.items():
                levels = ", ".join(f"{level:g}" for level in corruption.levels)
                yield name, f"{corruption.title}, severities 1 to 5: {levels} ({corruption.unit})"
        case "runs":
            yield from list_runs(open_store(storage))
        case _:
            raise ConfigError("list", [f"{kind}: expected one of {', '.join(get_args(Kind))}"])


def _name_method(settings: type) -> str:
    from raypipe.base.docstrings import summarize

    title, source, purpose = summarize(settings)
    return f"{title}: {purpose} ({source})"
