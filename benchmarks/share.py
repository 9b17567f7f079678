"""How much of a run's time its processes spend in network passes, and where the rest goes, by sampling their stacks.

    python -m benchmarks.share jobs/demo.yaml --out benchmarks/results/share.json

py-spy looks at every Python process of `raypipe run`, from an empty store, some times a second, and counts the threads
that are not asleep. A share is of what all cores could have done from the first look to the last: what is missing from the
sum is cores at rest and programs that are not Python, which are Ray's own.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.pipeline.ours import machine

KINDS: dict[str, str] = {
    "imports": r"<frozen importlib",
    "network passes": r"torch/nn/modules/module\.py|torch/autograd/|torch/_tensor\.py|torch/fx/",
    "PNG and JPEG": r"raypipe/data/(png|images|tiles)\.py|torchvision/io|PIL/",
    "the rest of attacks": r"raypipe/attacks/",
    "the rest of training": r"raypipe/training/|torch/optim/|torch/utils/data/",
    "tables and files": r"pyarrow/|raypipe/store\.py",
    "results and report": r"raypipe/(evaluation|report)/|matplotlib/",
    "Ray's Python": r"ray/",
}
"""By the first pattern that is found among a stack's frames."""
OTHER = "other"
AT_REST = re.compile(r"(Worker\.main_loop|Condition\.wait|\bselect|\bpoll|\bsleep) \([^()]*\)$")
"""What py-spy takes for busy now and then, though the thread waits in C: the last frame of a stack."""


def kind_of(stack: str) -> str | None:
    """What a thread is at, by the frames of its stack; None if it waits."""
    if AT_REST.search(stack):
        return None
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, stack)), OTHER)


def sampled(experiment: str, overrides: list[str], rate: int) -> tuple[float, int, Counter[str | None]]:
    """Seconds of a run by the clock, how often it was looked at, and how often a thread was seen at what."""
    with tempfile.TemporaryDirectory() as folder:
        stacks = Path(folder) / "stacks"
        run = [sys.executable, "-m", "raypipe.cli", "run", experiment, "--storage", f"{folder}/store"]
        run += [word for override in overrides for word in ("--set", override)]
        spy = ["py-spy", "record", "--subprocesses", "--format", "raw", "--rate", str(rate), "--output", str(stacks)]
        log = Path(folder) / "log"
        with log.open("wb") as output:
            begun = time.perf_counter()
            done = subprocess.run([*spy, "--", *run], stdout=output, stderr=subprocess.STDOUT, check=False)
            seconds = time.perf_counter() - begun
        looks = re.search(r"Samples: (\d+)", told := log.read_text())
        if done.returncode or not looks:
            raise SystemExit(f"py-spy ended with {done.returncode}:\n{told[-3000:]}")
        found: Counter[str | None] = Counter()
        for line in stacks.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            found[kind_of(stack)] += int(count)
    return seconds, int(looks[1]), found


def main() -> None:
    """Sample a run and show its shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="an experiment file")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="replace a setting")
    parser.add_argument("--rate", type=int, default=4, help="looks a second, at most")
    parser.add_argument("--out", type=Path, help="JSON record")
    options = parser.parse_args()
    seconds, looks, found = sampled(options.experiment, options.set, options.rate)
    cores = os.cpu_count() or 1
    shares = {kind: found[kind] / (looks * cores) for kind in [*KINDS, OTHER]}
    table = Table(title=f"{options.experiment}: {seconds:.0f} s on {cores} cores")
    table.add_column("at")
    table.add_column("of the cores' time", justify="right")
    for kind, share in shares.items():
        table.add_row(kind, f"{100 * share:.1f} %")
    table.add_row("at rest, or not Python", f"{100 * (1 - sum(shares.values())):.1f} %")
    Console().print(table)
    if options.out:
        record = {"machine": machine(), "experiment": options.experiment, "set": options.set}
        record |= {"looks": looks, "seconds": seconds, "shares": shares}
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
