"""One experiment with several versions of the code, and the CPU seconds of each by part.

    python -m benchmarks.pipeline.versions jobs/demo.yaml --version "before=../old" --version "now=." --out DIR

Every version is a checkout. Each runs from an empty store once per round, in turns.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.pipeline.figure import stack
from benchmarks.pipeline.ours import machine, parts_of, run_command
from benchmarks.pipeline.processes import watch
from raypipe.cli.terminal import output


def run(checkout: Path, experiment: Path, overrides: list[str], log: Path) -> dict[str, Any]:
    """Run an experiment with a checkout's code."""
    with tempfile.TemporaryDirectory() as store:
        command = run_command(str(experiment), overrides, Path(store))
        seen = watch(command, log, env={**os.environ, "PYTHONPATH": str(checkout)}, cwd=checkout)
    if seen.status:
        raise SystemExit(f"raypipe run ended with {seen.status} in {checkout}; see {log}")
    cpu = sum(seen.cpu.values())
    return {"wall": seen.wall, "cpu": cpu, "parts": parts_of(seen), "tasks": seen.tasks, "with_torch": seen.with_torch}


def main() -> None:
    """Run the versions in turns, and write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path, help="an experiment file")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="replace a setting")
    parser.add_argument("--version", action="append", default=[], metavar="NAME=CHECKOUT", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder for versions.json, versions.svg and logs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    checkouts = {name: Path(path).absolute() for name, _, path in (text.partition("=") for text in options.version)}
    rounds = []
    for number in range(options.rounds):
        logs = {name: options.out.absolute() / f"{name}-{number}.log" for name in checkouts}
        experiment = options.experiment.absolute()
        rounds.append({name: run(path, experiment, options.set, logs[name]) for name, path in checkouts.items()})
        record = {"machine": machine(), "experiment": str(options.experiment), "set": options.set, "rounds": rounds}
        (options.out / "versions.json").write_text(json.dumps(record, indent=1) + "\n")
    first = rounds[0]
    titles = {name: f"{name}: {each['wall']:.0f} s by the clock" for name, each in first.items()}
    stack({titles[name]: each["parts"] for name, each in first.items()}, options.out / "versions.svg")
    table = Table(title=f"{options.experiment}, medians of {options.rounds}")
    for column in ("version", "wall s", "CPU s", "processes with PyTorch"):
        table.add_column(column, justify="left" if column == "version" else "right")
    for name in checkouts:
        each = [turn[name] for turn in rounds]
        figures = (
            statistics.median(one["wall"] for one in each),
            statistics.median(one["cpu"] for one in each),
            statistics.median(one["with_torch"] for one in each),
        )
        table.add_row(name, *(f"{figure:,.0f}" for figure in figures))
    output().print(table)


if __name__ == "__main__":
    main()
