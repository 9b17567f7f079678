"""The commands `raypipe list` and `raypipe describe`: everything that an experiment can name, and its settings."""

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Literal, get_args

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from raypipe.base.errors import ConfigError
from raypipe.cli.options import AsJson, RunStorage, open_store
from raypipe.cli.runs import list_runs
from raypipe.cli.terminal import output

Kind = Literal["attacks", "defenses", "backbones", "data", "runs"]


def list_entries(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(get_args(Kind))}.")],
    storage: RunStorage = "results",
    as_json: AsJson = False,
) -> None:
    """List the attacks, defenses, backbones or data sets that an experiment can name, or the runs of a store."""
    entries = dict(_list_entries(kind, storage))
    if as_json:
        sys.stdout.write(f"{json.dumps(entries, indent=1)}\n")
        return
    console = output()
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in entries.items():
        table.add_row(Text(name, no_wrap=True), Text(text))
    console.print(table)
    if not entries:
        console.print(f"There is no run in {storage} yet.", soft_wrap=True, highlight=False)
    elif kind != "runs":
        console.print("\nSettings of one: raypipe describe NAME", highlight=False)


def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Attack, defense, backbone or data set.")],
    as_json: AsJson = False,
) -> None:
    """Describe an attack, a defense, a backbone or a data set, and list its settings."""
    from raypipe.attacks import ATTACKS
    from raypipe.base.docstrings import list_settings
    from raypipe.base.settings import Settings, near_matches
    from raypipe.data.sources import SOURCES
    from raypipe.defenses import DEFENSES, PRESETS
    from raypipe.models.backbones import BACKBONES
    from raypipe.models.classifier import Model

    records: dict[str, type[Settings]] = dict.fromkeys(BACKBONES, Model)
    records |= {name: entry.settings for name, entry in SOURCES.items()}
    records |= {**DEFENSES, **PRESETS, **{name: attack.settings for name, attack in ATTACKS.items()}}
    if name not in records:
        hint = near_matches(name, records) or "; `raypipe list attacks|defenses|backbones|data` lists the names"
        raise ConfigError("describe", [f"{name}: no attack, defense, backbone or data set of this name{hint}"])
    (text,) = (text for kind in get_args(Kind)[:-1] for each, text in _list_entries(kind, "") if each == name)
    settings = list(list_settings(records[name]))
    if as_json:
        about = {"name": name, "about": text, "settings": [setting._asdict() for setting in settings]}
        sys.stdout.write(f"{json.dumps(about, indent=1)}\n")
        return
    console = output()
    console.print(Text.assemble((name, "bold"), f"  {text}"))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("setting", "default", "meaning"):
        table.add_column(heading, overflow="fold")
    for setting in settings:
        table.add_row(setting.name, Text(setting.default), Text(setting.description))
    console.print(table)
    if name in SOURCES and (about_data := SOURCES[name].published):
        console.print(f"License: {about_data.license}\nGroups: {about_data.groups}\n{about_data.where}", markup=False)


def _list_entries(kind: str, storage: str) -> Iterator[tuple[str, str]]:
    """Yield the names of one kind, each with a description of one line."""
    match kind:
        case "attacks":
            from raypipe.attacks import ATTACKS

            yield from ((name, _method(attack.settings)) for name, attack in ATTACKS.items())
        case "defenses":
            from raypipe.defenses import DEFENSES, PRESETS

            yield from ((name, _method(settings)) for name, settings in {**DEFENSES, **PRESETS}.items())
        case "backbones":
            from raypipe.models.backbones import BACKBONES

            for name, backbone in BACKBONES.items():
                yield name, f"pretrained weights: {', '.join(backbone.published()) or 'none'}"
        case "data":
            from raypipe.base.docstrings import first_paragraph
            from raypipe.data.sources import SOURCES

            for name, entry in SOURCES.items():
                yield name, entry.published.title if entry.published else first_paragraph(entry.settings)
        case "runs":
            yield from list_runs(open_store(storage))
        case _:
            raise ConfigError("list", [f"{kind}: expected one of {', '.join(get_args(Kind))}"])


def _method(settings: type) -> str:
    from raypipe.base.docstrings import summarize

    title, source, purpose = summarize(settings)
    return f"{title}: {purpose} ({source})"
