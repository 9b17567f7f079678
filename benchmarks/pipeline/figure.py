"""A figure of the CPU seconds of both grids, with a stacked bar for each."""

from collections import defaultdict
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw the first round of a record."""
    ours, baseline = record["rounds"][0]["ours"], record["rounds"][0]["baseline"]
    bars = {
        f"raypipe's honest grid, {record['tiles']} tiles": {k: v for k, v in ours["parts"].items() if v > 0},
        f"the static grid with ART, {baseline['tiles']} tiles": baseline_parts(baseline),
    }
    stack(bars, path)


def stack(bars: dict[str, dict[str, float]], path: Path) -> None:
    """Draw a bar of parts and their CPU seconds for each title, and write them as an SVG; a part keeps its color."""
    names = list(dict.fromkeys(name for parts in bars.values() for name in parts))
    colors = dict(zip(names, cycle(mpl.colormaps["tab20"].colors), strict=False))  # type: ignore[attr-defined]
    figure = Figure(figsize=(11, 2.3 * len(bars)), layout="constrained")
    for place, (title, parts) in enumerate(bars.items(), start=1):
        axes, begin = figure.add_subplot(len(bars), 1, place), 0.0
        for name, seconds in parts.items():
            axes.barh(0, seconds, left=begin, color=colors[name], label=f"{name}: {seconds:,.0f} s")
            begin += seconds
        axes.set_title(f"{title}: {begin:,.0f} CPU s", loc="left", fontsize=10)
        axes.set_xlim(0, max(sum(other.values()) for other in bars.values()) * 1.02)
        axes.set_yticks([])
        axes.legend(ncols=4, fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.12))
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, format="svg")


def baseline_parts(baseline: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of the static grid: training, each attack, retraining, testing."""
    found: dict[str, float] = defaultdict(float)
    found["loading"] = baseline["loading"]
    for part in baseline["parts"]:
        kind, _, *attack = part["part"].split()
        found[f"{kind} {attack[0]}" if kind == "attack" else kind] += part["cpu"]
    return dict(found)
