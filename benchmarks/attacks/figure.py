"""Speed against distortion, with a panel per family; the lower left corner is best."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from benchmarks.attacks.contestants import BOUNDED, FAMILIES
from benchmarks.attacks.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {"raypipe": "#0b6e4f", "ART": "#c44536", "torchattacks": "#3a6ea5", "foolbox": "#8e5ea2", "adv-lib": "#d98e04"}
MARKERS = "osD^v<>phX*P"
AXES = {"l0": "mean L0 over successes", "l2": "mean L2 over successes", "linf": "share of tiles not fooled"}


def draw(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw one victim's rows and write them as an SVG.

    Parameters
    ----------
    rows
        Rows of one victim. Contestants that failed are left out. A panel shows all contestants on the same tiles: the
        few tiles of the slow contestants, if there are any.
    title
        Title above the panels.
    path
        Path of the file.
    """
    import matplotlib as mpl  # noqa: PLC0415  only the figure needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    families = [family for family in FAMILIES if any(row.attack == family for row in rows)]
    across = min(2, len(families))
    down = -(-len(families) // across)
    figure = Figure(figsize=(7.2 * across, 4.2 * down), layout="constrained")
    figure.suptitle(title)
    for position, family in enumerate(families, start=1):
        _panel(figure.add_subplot(down, across, position), rows, family)
    with mpl.rc_context({"svg.fonttype": "none"}):  # text stays text: a fifth of the size, and searchable
        figure.savefig(path, format="svg")


def _panel(axes: "Axes", rows: Sequence[Row], family: str) -> None:
    tiles, shown = _on_the_same_tiles(rows, family)
    bounded, norm = family in BOUNDED, FAMILIES[family]
    for number, row in enumerate(shown):
        success = row.success[:tiles]
        lengths = [length for length, fooled in zip(row.lengths(norm), success, strict=False) if fooled]
        if not bounded and not lengths:
            continue
        color = COLORS.get(row.library, "black")
        axes.plot(
            row.time,
            1 - mean(success) if bounded else mean(lengths),
            linestyle="none",
            marker=MARKERS[number % len(MARKERS)],
            markersize=8,
            color=color,
            markerfacecolor=color if bounded or all(success) else "none",
            label=f"{row.library} {row.label}",
        )
    axes.set_xscale("log")
    axes.set_yscale("linear" if bounded else "log")
    axes.set_title(
        f"{family}, {tiles} tiles" + ("" if bounded else "; hollow: not all fooled"), loc="left", fontsize=10
    )
    axes.set_xlabel("CPU ms an image")
    axes.set_ylabel(AXES[norm])
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _on_the_same_tiles(rows: Sequence[Row], family: str) -> tuple[int, list[Row]]:
    """Return the number of tiles that all contestants had, and each one's row on the fewest tiles not below it."""
    had = [row for row in rows if row.attack == family and row.error is None and row.milliseconds and row.tiles > 1]
    tiles = min((row.tiles for row in had), default=0)
    chosen = {(row.library, row.label): row for row in sorted(had, key=lambda row: -row.tiles)}
    return tiles, list(chosen.values())
