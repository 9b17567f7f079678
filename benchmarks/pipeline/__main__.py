"""The command line: ``python -m benchmarks.pipeline jobs/lc25000_cpu.yaml --set data.path=... --out DIR``."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.pipeline.figure import draw
from benchmarks.pipeline.ours import (
    attacks_of,
    bytes_of,
    clock_of,
    import_seconds,
    machine,
    parts_of,
    run_command,
    stages_of,
)
from benchmarks.pipeline.processes import watch
from raypipe.cli.terminal import output
from raypipe.experiment.load import load_experiment

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SHARE = 10
"""Factor by which the baseline gets fewer tiles."""


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("experiment", help="an experiment file, on LC25000 if there is to be a baseline")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a setting, for both")
    parser.add_argument("--tiles", type=int, help="of ours, in five classes; the baseline gets a tenth (default: 750)")
    parser.add_argument(
        "--attack-tiles", type=int, help="of each side that each of ART's attacks is run on, then scaled"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--baseline", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--estimate", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for pipeline.json, pipeline.svg and logs")
    options = parser.parse_args()
    if options.baseline and options.tiles is None:
        options.tiles = 750
    return options


def estimate(experiment: str, overrides: list[str], storage: Path) -> dict[str, Any]:
    """Return the forecast of `raypipe plan --estimate`."""
    command = [sys.executable, "-m", "benchmarks.pipeline.estimate", experiment, *overrides, f"storage={storage}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **ONE_THREAD})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_ours(options: argparse.Namespace, overrides: list[str], log: Path) -> dict[str, Any]:
    """Run the honest grid from an empty store on a local Ray."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        seen = watch(run_command(options.experiment, overrides, storage), log)
        if seen.status:
            raise SystemExit(f"raypipe run ended with {seen.status}; see {log}")
        name = load_experiment(options.experiment, overrides).name
        stages = stages_of(storage, name)
        return {
            "wall": seen.wall,
            "cpu": sum(seen.cpu.values()),
            "with_torch": seen.with_torch,
            "stages": stages,
            "clock": clock_of(storage, name),
            "attacks": attacks_of(storage, name),
            "parts": parts_of(seen),
            "tasks": seen.tasks,
            "bytes": bytes_of(storage),
        }


def run_baseline(options: argparse.Namespace, overrides: list[str], log: Path) -> dict[str, Any]:
    """Run the static grid on a tenth of the tiles."""
    record = log.with_suffix(".json")
    words = ["--tiles", str(options.tiles // SHARE), "--out", str(record)]
    words += ["--attack-tiles", str(options.attack_tiles)] if options.attack_tiles else []
    sets = [word for override in overrides for word in ("--set", override)]
    seen = watch([sys.executable, "-m", "benchmarks.pipeline.baseline", options.experiment, *sets, *words], log)
    if seen.status:
        raise SystemExit(f"the baseline ended with {seen.status}; see {log}")
    found: dict[str, Any] = json.loads(record.read_text())
    record.unlink()
    return found


def by_attack(foreseen: dict[str, Any], measured: dict[str, float]) -> dict[str, dict[str, list[float]]]:
    """Return forecast and measured worker seconds of all attack cells, by backbone and method."""
    sums: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for name, (model, method, seconds) in foreseen.items():
        both = sums[model][method]
        both[0] += seconds
        both[1] += measured[name]
    return {model: dict(methods) for model, methods in sums.items()}


def main() -> None:
    """Estimate, alternate, and write the record."""
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    overrides = [*options.set, *([f"data.per_class={options.tiles // 5}"] if options.tiles else [])]
    record: dict[str, Any] = {
        "machine": machine(),
        "experiment": options.experiment,
        "set": [override for override in overrides if not override.startswith(("data.path", "data.groups"))],
        "tiles": options.tiles,
        "imports": import_seconds(),
        "rounds": [],
    }
    if options.estimate:
        record["estimate"] = estimate(options.experiment, overrides, options.out / "nothing")
        foreseen = record["estimate"].pop("attacks")
    for number in range(options.rounds):
        ours = run_ours(options, overrides, options.out / f"ours-{number}.log")
        attacks = ours.pop("attacks")
        record["rounds"].append({"ours": ours})
        if options.estimate:
            record["attacks"] = by_attack(foreseen, attacks)
        if options.baseline:
            baseline = run_baseline(options, overrides, options.out / f"baseline-{number}.log")
            record["rounds"][-1]["baseline"] = baseline
        (options.out / "pipeline.json").write_text(json.dumps(record, indent=1))
    console = output()
    if options.baseline:
        draw(record, options.out / "pipeline.svg")
        console.print(totals_table(record))
    if options.estimate:
        console.print(estimate_table(record))
    console.print(f"Record: {options.out / 'pipeline.json'}", highlight=False)


def totals_table(record: dict[str, Any]) -> Table:
    """Return the table of both grids, with medians over rounds."""
    table = Table(title=f"The honest grid on {record['tiles']} tiles, the static one on {record['tiles'] // SHARE}")
    for column in ("", "tiles", "CPU s", "wall s"):
        table.add_column(column, justify="left" if not column else "right")
    medians = {
        (who, what): statistics.median(round_[who][what] for round_ in record["rounds"])
        for who in ("ours", "baseline")
        for what in ("cpu", "wall")
    }
    table.add_row("ours", str(record["tiles"]), *(f"{medians['ours', what]:,.0f}" for what in ("cpu", "wall")))
    tiles = str(record["rounds"][0]["baseline"]["tiles"])
    table.add_row("baseline", tiles, *(f"{medians['baseline', what]:,.0f}" for what in ("cpu", "wall")))
    ratios = (medians["baseline", what] / medians["ours", what] for what in ("cpu", "wall"))
    table.add_row("baseline / ours", "", *(f"{ratio:.2f}" for ratio in ratios))
    return table


def estimate_table(record: dict[str, Any]) -> Table:
    """Return the table of forecast and measured seconds by stage, with the last round's outcome."""
    table = Table(title="Seconds of workers, and by the clock: foreseen and measured")
    for column in ("", "foreseen", "measured", "foreseen / measured"):
        table.add_column(column, justify="right" if column else "left")
    ours, foreseen = record["rounds"][-1]["ours"], record["estimate"]["stages"]
    rows = {stage: (foreseen[stage]["seconds"], told["seconds"]) for stage, told in ours["stages"].items()}
    rows["all"] = (sum(a for a, _ in rows.values()), sum(b for _, b in rows.values()))
    rows |= {f"{stage}, by the clock": (foreseen[stage]["wall"], told) for stage, told in ours["clock"].items()}
    rows["all, by the clock"] = (record["estimate"]["wall"], ours["wall"])
    for model, methods in record["attacks"].items():
        rows |= {f"{method} on {model}": tuple(both) for method, both in methods.items()}
    for name, (said, seen) in rows.items():
        table.add_row(name, f"{said:,.0f}", f"{seen:,.0f}", f"{said / seen:.2f}" if seen else "")
    return table


if __name__ == "__main__":
    main()
