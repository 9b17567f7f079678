"""A figure of a run's growth, from the records of `load.py` and `growth.py`.

python -m benchmarks.growth_figure benchmarks/results/load.json benchmarks/results/growth.json growth.svg
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.scale import FuncScale, LogScale, ScaleBase

Run = dict[str, Any]


def lines(
    axes: Axes, runs: list[Run], against: str, what: dict[str, Callable[[Run], float]], scale: ScaleBase | None = None
) -> None:
    """Draw a line for each quantity against another quantity."""
    at = [run[against] for run in runs]
    for name, value in what.items():
        axes.plot(at, [value(run) for run in runs], marker="o", markersize=3, label=name)
    axes.set_xscale(scale or "linear")
    axes.set(xlabel=against, ylim=(0, None))
    axes.set_xticks(at, [f"{tick:,}" for tick in at], fontsize=8)
    axes.minorticks_off()
    axes.legend(fontsize=7.5, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def stage_seconds(name: str) -> Callable[[Run], float]:
    """Return a function that gives the seconds of a stage."""
    return lambda run: run["stages"].get(name, 0.0)


def peak(kind: str) -> Callable[[Run], float]:
    """Return a function that gives the largest memory of a kind of process in any stage, in GiB."""
    return lambda run: max(stage.get(kind, 0.0) for stage in run["peaks"].values()) / 1024


def main() -> None:
    """Read two records and draw them."""
    load, growth, path = (Path(argument) for argument in sys.argv[1:])
    tiles, grown = json.loads(load.read_text())["runs"], json.loads(growth.read_text())
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    (seconds, memory), (cells, nodes) = figure.subplots(2, 2)
    seconds.set_title("Seconds of stages, by tiles", loc="left", fontsize=10)
    each = {name: stage_seconds(name) for name in ("ingest", "train", "attack", "evaluate")}
    lines(seconds, tiles, "tiles", each, LogScale(seconds.xaxis))
    seconds.set_yscale("log")
    seconds.set_ylim(0.5, None)
    memory.set_title("GiB at most, by tiles", loc="left", fontsize=10)
    kinds = {"driver": peak("driver"), "largest worker": peak("worker"), "Ray": peak("Ray")}
    lines(memory, tiles, "tiles", kinds, LogScale(memory.xaxis))
    stages = {name: stage_seconds(name) for name in ("attack", "evaluate")}
    cells.set_title("Seconds of stages that do nothing, by cells", loc="left", fontsize=10)
    lines(cells, grown["cells"], "cells", stages)
    nodes.set_title("The same where passes wait, by 1 / nodes", loc="left", fontsize=10)
    inverse = FuncScale(nodes.xaxis, (lambda n: -1 / np.maximum(n, 0.1), lambda x: -1 / np.minimum(x, -0.01)))
    lines(nodes, grown["nodes"], "nodes", stages, inverse)
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
