"""The command line of the benchmark; see the docstring of the package."""

import argparse
import importlib.util
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.attacks.contestants import FAMILIES, Contestant, task_of
from benchmarks.attacks.figure import draw
from benchmarks.attacks.goals import verdicts
from benchmarks.attacks.measure import Rules, contest
from benchmarks.attacks.ours import OURS
from benchmarks.attacks.passes import warm_up
from benchmarks.attacks.peers import PEERS
from benchmarks.attacks.record import (
    STAMP,
    Record,
    environment,
    optimalities,
    optimality_tables,
    rows_table,
    verdicts_table,
)
from benchmarks.attacks.rows import Row
from benchmarks.attacks.victims import EPOCHS, Subject, data_settings, experiments, subjects
from raypipe.attacks.engine.prepare import prepare
from raypipe.attacks.engine.quantize import to_unit
from raypipe.cli.errors import tell_errors
from raypipe.cli.terminal import output


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attacks",
        description="Compare raypipe's attacks with those of other libraries, on one CPU thread.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--victims", nargs="+", default=list(EPOCHS), metavar="NAME", help="backbones")
    parser.add_argument(
        "--attacks", nargs="+", default=list(FAMILIES), choices=FAMILIES, metavar="FAMILY", help=" ".join(FAMILIES)
    )
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--tiles", type=int, default=24, help="tiles to attack")
    parser.add_argument("--slow-tiles", type=int, default=6, help="of these, how many slow contestants get")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--enough", type=float, default=30.0, help="CPU seconds after which one is in no further round")
    parser.add_argument(
        "--time-limit", type=float, default=240.0, help="CPU seconds of one in a round; then it is ended"
    )
    parser.add_argument("--budget", type=int, default=1000, help="passes a tile, for optimality")
    parser.add_argument("--batch-size", type=int, help="tiles at once in raypipe's attacks; found by trial otherwise")
    parser.add_argument("--data", help="folder of LC25000; synthetic tissue otherwise")
    parser.add_argument("--groups", help="CSV of its source tiles; groups.csv in that folder otherwise")
    parser.add_argument("--per-class", type=int, help="tiles of a class to train and test on; 600, or 120 drawn ones")
    parser.add_argument("--epochs", type=int, help="of each training; each backbone's own otherwise")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of tiles")
    parser.add_argument("--store", default="results/attack-benchmark", help="where tiles and models are kept")
    parser.add_argument("--out", type=Path, default=Path("results/attack-benchmark"), help="where the record goes")
    return parser.parse_args(arguments)


def run(
    chosen: Sequence[Subject], entries: Sequence[Contestant], options: argparse.Namespace, console: Console
) -> Record:
    """Run the contest on each subject, and write the record after each family, so that no measurement is lost.

    Parameters
    ----------
    chosen
        Models, and the tiles to attack them on.
    entries
        Contestants of the families in `options.attacks`.
    options
        Options from `parse`.
    console
        Console for progress and tables.
    """
    rules = Rules(options.slow_tiles, options.repeats, options.enough, options.time_limit, options.budget)
    # Paths on this machine mean nothing to readers of the record elsewhere.
    said = {key: value for key, value in vars(options).items() if key not in ("store", "out")}
    said |= {key: Path(said[key]).name for key in ("data", "groups") if said[key]}
    record = Record(environment(), {**said, **asdict(rules)})
    for subject in chosen:
        record.victims[subject.name] = dict(subject.facts)
        _attack(
            subject, [entry for entry in entries if entry.attack in options.attacks], rules, record, options, console
        )
        _write(record, options.out)
    for table in optimality_tables(record.optimality, rules.budget, STAMP if record.synthetic else None):
        console.print(table)
    console.print(f"Record: {options.out / 'attacks.json'}", soft_wrap=True, highlight=False)
    return record


def _attack(
    subject: Subject,
    entries: Sequence[Contestant],
    rules: Rules,
    record: Record,
    options: argparse.Namespace,
    console: Console,
) -> None:
    stored = torch.from_numpy(subject.images).permute(0, 3, 1, 2).contiguous()
    images, labels = to_unit(stored), torch.from_numpy(subject.labels)
    shape = (stored.shape[1], stored.shape[2], stored.shape[3])
    prepared = prepare(subject.model, shape, device="cpu", batch_size=options.batch_size)
    task = task_of(subject.model, prepared, images, labels)
    warm_up(subject.model, images)
    made = {
        "batch_size": prepared.batch_size,
        "memory_format": str(prepared.fast.memory_format),
        "folded": prepared.folded,
    }
    record.victims[subject.name] |= {"prepared": made, "tiles": len(task)}
    stamp = STAMP if subject.facts["synthetic"] else None
    rows: list[Row] = []
    for family in dict.fromkeys(entry.attack for entry in entries):
        for number, row in contest(subject.name, task, [e for e in entries if e.attack == family], rules, stored):
            what = f"failed: {row.error}" if row.error else f"{row.milliseconds[-1]:,.1f} ms"
            line = f"  {subject.name} {family} round {number + 1}: {row.library} {row.label}, {row.tiles} tiles: {what}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)
            rows += [] if any(known is row for known in rows) else [row]
        console.print(rows_table(rows, subject.name, family, stamp))
        record.rows += [row for row in rows if row.attack == family]
        _write(record, options.out)
    record.verdicts += verdicts(rows, shape[1])
    record.optimality = optimalities(record.rows)
    console.print(verdicts_table(record.verdicts, subject.name, stamp))
    if importlib.util.find_spec("matplotlib") is None:
        console.print("No figure: it needs matplotlib; see the extra `bench`.")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    title = f"{subject.name}, {shape[1]} px, {len(task)} tiles, one thread" + (f"\n{stamp}" if stamp else "")
    draw(rows, title, options.out / f"attacks-{subject.name}.svg")


def _write(record: Record, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record.as_json(), indent=1, ensure_ascii=False)
    (folder / "attacks.json").write_text(text + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the missing models, run the contest, and write the record."""
    options = parse(arguments)
    console = output()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    with tell_errors(), threadpool_limits(1):
        data = data_settings(
            options.data, options.groups, options.per_class or (600 if options.data else 120), options.size
        )
        plans = experiments(options.victims, data, options.size, options.store, options.epochs)
        chosen = subjects(plans, options.tiles, options.seed, console)
        run(chosen, [*OURS, *PEERS], options, console)


if __name__ == "__main__":
    main()
