"""The start of workers and of a local Ray, for several versions of raypipe in turns.

    python -m benchmarks.starts --version before=OLD --version now=. --out benchmarks/results/starts.json

- imports: the CPU seconds of a process that imports PyTorch alone, and of one that imports what an attack worker needs,
  torchvision included;
- Ray: the seconds from the start of a local Ray to the result of a first task that does nothing, with `ray.init` alone
  and with raypipe's connection and Ray Data. They do not include the imports of the driver.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

PYTORCH = "import torch"
WORKER = """
import raypipe.execution.attack, raypipe.stages.cluster_executor
from raypipe.models.backbones.lookup import get_backbone
get_backbone("resnet18").size()
"""
IMPORTS = "import time; begun = time.process_time()\n{}\nprint(time.process_time() - begun)"
PLAIN = """
import time, ray, ray.data
begun = time.perf_counter()
ray.init(address="local", include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
ray.get(ray.remote(lambda: None).remote())
print(time.perf_counter() - begun)
"""
OURS = """
import sys, time
from pathlib import Path
from raypipe.experiment.schema import Resources
from raypipe.stages.cluster import connect
from raypipe.stages.ray_map import map_items
begun = time.perf_counter()
with connect(None, Path(sys.argv[1])):
    list(map_items(lambda item, *_: item, [{"number": 1}], Resources(), name="nothing"))
    print(time.perf_counter() - begun)
"""


def measure(code: str, folder: str, *arguments: str) -> float:
    """Run a program of a version in a process of its own, and return the number that it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(folder).resolve())}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure the versions in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="append", default=[], metavar="NAME=FOLDER", help="a checkout to measure")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-ray", action="store_true", help="measure imports alone")
    parser.add_argument("--out", type=Path, help="JSON record")
    options = parser.parse_args()
    versions = dict(each.split("=", 1) for each in options.version or ["now=."])
    rounds: list[dict[str, Any]] = []
    for _ in range(options.repeats):
        turn = {"imports, PyTorch alone": measure(IMPORTS.format(PYTORCH), ".")}
        turn |= {f"imports, {name}": measure(IMPORTS.format(WORKER), folder) for name, folder in versions.items()}
        if not options.no_ray:
            turn["Ray alone"] = measure(PLAIN, ".")
            turn |= {f"Ray, {name}": measure(OURS, folder, os.devnull) for name, folder in versions.items()}
        rounds.append(turn)
        if options.out:
            options.out.write_text(json.dumps({"rounds": rounds}, indent=1) + "\n")
    for name in rounds[0]:
        print(f"{name}: {statistics.median(turn[name] for turn in rounds):.2f} s")


if __name__ == "__main__":
    main()
