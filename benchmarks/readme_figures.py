"""The figures of the README: a record of them from a finished run, and the README's table from that record.

    python -m benchmarks.readme_figures STORE RUN --command 'raypipe run ...' && make docs

The first command writes `docs/lc25000.json`, and `make docs` puts its table into the README. A test fails while the two
differ.
"""

import argparse
import json
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from raypipe.evaluation.results.compute import load_result
from raypipe.report.layout import Book, Row
from raypipe.report.names import name_attack, name_backbone, name_defense
from raypipe.report.summary import find_direct, find_static
from raypipe.storage.store import Store

RECORD = Path(__file__).parents[1] / "docs" / "lc25000.json"
SHOWN_ATTACK = "deepfool"
"""The README shows only models that were hardened with this attack, or without a stored one; the record has all."""
CONTROL = "bit_depth_reduction"
"""Known-weak control, which the README does not show."""


def make_record(book: Book, command: str) -> dict[str, Any]:
    """Return the record of a run: the accuracy of each model, each with its interval, tiles and groups.

    Parameters
    ----------
    book
        Results of the run.
    command
        Command that reproduces the run.
    """
    models = [
        {
            "backbone": row["backbone"],
            "defense": row["defense"],
            "attack": row["hardened_on"],
            "clean": share(book.clean(subject)),
            "static": share(find_static(book, subject)),
            "white_box": share(find_direct(book, subject)),
            "worst_case": share(book.headline_case(subject)),
        }
        for subject, row in book.subjects.items()
    ]
    return {"command": command, "provisional": "", "bound": str(book.headline or ""), "models": models}


def share(row: Row | None) -> dict[str, float | None] | None:
    """Return an accuracy with its interval, tiles and groups; None where it was not measured."""
    if row is None:
        return None
    low, high = row["accuracy_low"], row["accuracy_high"]
    return {"value": row["accuracy"], "low": low, "high": high, "tiles": row["tiles"], "groups": row["groups"]}


def read_record() -> dict[str, Any]:
    """Return the committed record."""
    record: dict[str, Any] = json.loads(RECORD.read_text())
    return record


def readme_table(record: dict[str, Any]) -> str:
    """Return the README's table of a record, and the sentences that belong to it."""
    models = record["models"]
    shown = [each for each in models if each["attack"] in (None, SHOWN_ATTACK) and each["defense"] != CONTROL]
    lines = [
        f"| model | clean | static | white-box | worst case, {record['bound']} |",
        "| --- | --- | --- | --- | --- |",
    ]
    for each in shown:
        figures = (each[name] for name in ("clean", "static", "white_box", "worst_case"))
        lines.append(f"| {_name(each)} | {' | '.join(map(_percent, figures))} |")
    hardened = [each for each in models if each["static"] and each["defense"] != CONTROL]
    known = any(each["clean"]["low"] is not None for each in models)
    intervals = " with 95 % intervals" if known else ""
    ending = record["provisional"] or f"`{record['command']}` reproduces it."
    sentences = [
        f"*Accuracy in %{intervals}; clean on {_count(each['clean'] for each in models)}, all else on "
        f"{_count(each['worst_case'] for each in models)}.* In static evaluation, the paper's protocol, the "
        f"{len(hardened)} hardened models of this run have {_range(each['static'] for each in hardened)} % accuracy. "
        f"When attacked directly, the same models have {_range(each['white_box'] for each in hardened)} %.",
        f"{ending} [The record](docs/lc25000.json) has all models.",
    ]
    paragraphs = (textwrap.fill(each, 120, break_long_words=False, break_on_hyphens=False) for each in sentences)
    return "\n\n".join(["\n".join(lines), *paragraphs]) + "\n"


def _name(model: dict[str, Any]) -> str:
    against = f" ({name_attack(model['attack'])})" if model["attack"] else ""
    how = f"{name_defense(model['defense'])}{against}" if model["defense"] else "undefended"
    return f"{name_backbone(model['backbone'])}, {how}"


def _percent(figure: dict[str, float] | None) -> str:
    if figure is None:
        return "-"
    value = f"{100 * figure['value']:.1f}"
    return value if figure["low"] is None else f"{value} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def _count(figures: Iterable[dict[str, int] | None]) -> str:
    known = [figure for figure in figures if figure]
    groups = {figure["groups"] for figure in known} - {None}
    tiles = f"{max(figure['tiles'] for figure in known)} tiles"
    return f"{tiles} from {max(groups)} source images" if groups else tiles


def _range(figures: Iterable[dict[str, float]]) -> str:
    low, high = (f"{100 * bound:.0f}" for bound in _ends([figure["value"] for figure in figures]))
    return low if low == high else f"{low} to {high}"


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def main() -> None:
    """Write the record of a run."""
    parser = argparse.ArgumentParser(description="Write the record of the README's figures from a finished run.")
    parser.add_argument("store", help="store of the run, a folder or a URI")
    parser.add_argument("run", help="name of the run")
    parser.add_argument("--command", required=True, help="command that reproduces the run")
    arguments = parser.parse_args()
    book = Book.from_result(load_result(Store.open(arguments.store), arguments.run))
    RECORD.write_text(json.dumps(make_record(book, arguments.command), indent=1) + "\n")


if __name__ == "__main__":
    main()
