"""The command line of the benchmark; see the docstring of the package."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.attacks.peers import DISTRIBUTIONS
from benchmarks.attacks.record import environment
from benchmarks.gpu.attacks import is_installed
from benchmarks.gpu.options import Options
from benchmarks.gpu.sections import SECTIONS

RECORD = "gpu.json"
NO_GPU = "measured on a CPU: no figure here says anything about a GPU"
STAMP = "SYNTHETIC: synthetic tissue; no figure of success or distortion applies to real images"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Measure attacks, training and shared use of a GPU in at most eight minutes.",
    )  # fmt: skip
    parser.add_argument("--device", default="cuda", help="device; cpu tests the script")
    parser.add_argument("--quick", action="store_true", help="tiny network, tiles and budgets, to test the script")
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=SECTIONS, metavar="NAME",
                        help=" ".join(SECTIONS))  # fmt: skip
    parser.add_argument("--scale-limits", type=float, default=1.0, help="factor of all time limits")
    parser.add_argument("--out", type=Path, default=Path("results/bench-gpu"), help="folder of the record")
    parser.add_argument("--only", choices=SECTIONS, help=argparse.SUPPRESS)  # run a section in this process
    options = parser.parse_args(arguments)
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no GPU here; --device cpu --quick tests the script without one")
    return options


def run_section(name: str, options: argparse.Namespace) -> None:
    """Run a section in this process."""
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    limit = options.scale_limits * SECTIONS[name].seconds
    SECTIONS[name].run(Options(device, options.quick, options.out, name, limit))


def run_apart(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run a section in a process of its own until its time limit, and return its part of the record."""
    limit = options.scale_limits * SECTIONS[name].seconds
    rows, log = options.out / f"{name}.jsonl", options.out / f"{name}.log"
    rows.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu", "--only", name, "--device", options.device]
    command += ["--out", str(options.out), "--scale-limits", str(options.scale_limits)]
    command += ["--quick"] if options.quick else []
    begun, state = time.monotonic(), "done"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(limit)
            state = "failed" if status else "done"
        except subprocess.TimeoutExpired:
            state = "ended at its time limit"
        finally:
            end_group(process)
    part: dict[str, Any] = {"state": state, "limit": limit, "seconds": time.monotonic() - begun}
    if state == "failed":
        part["error"] = log.read_text(encoding="utf-8", errors="replace").strip()[-1500:]
    lines = rows.read_text(encoding="utf-8").splitlines(keepends=True) if rows.is_file() else []
    part["rows"] = [json.loads(line) for line in lines if line.endswith("\n")]
    return part


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with all that it has started, so that nothing of it disturbs the next section."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def describe_device(device: torch.device) -> dict[str, Any]:
    """Return the facts of the device."""
    if device.type != "cuda":
        return {"name": str(device), "note": NO_GPU}
    properties = torch.cuda.get_device_properties(device)
    return {"name": properties.name, "memory": properties.total_memory, "cuda": torch.version.cuda}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all sections, one after the other, and write the record after each."""
    options = parse(arguments)
    if options.only:
        run_section(options.only, options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device)
    record: dict[str, Any] = {
        "stamp": STAMP,
        "environment": environment(),
        "device": describe_device(device),
        "quick": options.quick,
        "not_installed": [library for library in DISTRIBUTIONS if not is_installed(library)],
        "sections": {},
    }
    print(f"Device: {', '.join(f'{key} {value}' for key, value in record['device'].items())}", flush=True)
    for library in record["not_installed"]:
        print(f"Not installed, so not measured: {library}", flush=True)
    for name in options.sections:
        part = run_apart(name, options)
        record["sections"][name] = part
        text = json.dumps(record, indent=1) + "\n"
        (options.out / RECORD).write_text(text, encoding="utf-8")
        print(f"{name}: {part['state']} after {part['seconds']:.0f} of {part['limit']:.0f} s", flush=True)
        for row in part["rows"]:
            print(f"  {json.dumps(row)}", flush=True)
        if error := part.get("error"):
            print(f"  {error.splitlines()[-1]}", flush=True)
    print(f"Record: {options.out / RECORD}")
    if device.type != "cuda":
        print(NO_GPU)


if __name__ == "__main__":
    main()
