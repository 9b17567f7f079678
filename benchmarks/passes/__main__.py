"""The command line: ``python -m benchmarks.passes jobs/demo.yaml --out FILE``."""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console

import benchmarks.passes
from benchmarks.passes.watched.sitecustomize import BUCKET_SECONDS, FOLDER
from benchmarks.pipeline.ours import machine, run_command

WATCHED = Path(benchmarks.passes.__file__).parent / "watched"


def measure(experiment: str, overrides: list[str]) -> dict[str, float]:
    """Return the elapsed seconds of a run, the seconds in passes of all processes, and those with any in a pass."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "passes").mkdir()
        path = os.pathsep.join(filter(None, [str(WATCHED), str(Path.cwd()), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, FOLDER: str(folder / "passes")}
        with (folder / "log").open("w") as log:
            begun = time.perf_counter()
            command = run_command(experiment, overrides, folder / "store")
            done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
            seconds = time.perf_counter() - begun
        if done.returncode:
            raise SystemExit(f"raypipe run ended with {done.returncode}:\n{(folder / 'log').read_text()[-3000:]}")
        together: Counter[str] = Counter()
        for file in (folder / "passes").glob("*.json"):
            together.update(json.loads(file.read_text()))
    some = sum(min(BUCKET_SECONDS, spent) for spent in together.values())
    return {"seconds": seconds, "in passes": sum(together.values()), "any in a pass": some}


def main() -> None:
    """Measure, and print both shares."""
    parser = argparse.ArgumentParser(description=benchmarks.passes.__doc__)
    parser.add_argument("experiment", help="an experiment file")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="replace a setting")
    parser.add_argument("--out", type=Path, help="JSON record")
    options = parser.parse_args()
    found = measure(options.experiment, options.set)
    cores = os.cpu_count() or 1
    of_cores, of_clock = found["in passes"] / (cores * found["seconds"]), found["any in a pass"] / found["seconds"]
    Console().print(
        f"{options.experiment}: {found['seconds']:.0f} s on {cores} cores; {100 * of_cores:.1f} % of the cores' "
        f"seconds are spent in network passes, and {100 * of_clock:.1f} % of those by the clock have one"
    )
    if options.out:
        record = {"machine": machine(), "experiment": options.experiment, "set": options.set, **found}
        record["shares"] = {"of the cores' seconds": of_cores, "of the clock's seconds": of_clock}
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
