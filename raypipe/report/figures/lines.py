"""Figure of robust accuracy by the size of the perturbation for Python, drawn with matplotlib."""

from typing import TYPE_CHECKING

from raypipe.report.cells import name_family, name_hardening
from raypipe.report.details import SCALES
from raypipe.report.figures.colors import read_colors
from raypipe.report.layout import Book

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"linf": "L-infinity (1/255)", "l2": "L2", "l0": "L0 (changed channel values)"}
"""Name of each axis, by norm."""


def draw_lines(book: Book) -> "Figure":
    """Draw robust accuracy of every model by the size of the perturbation, in the worst case: an axis for each norm.

    Raises
    ------
    ValueError
        If no attack was run.
    """
    from matplotlib import pyplot as plt  # noqa: PLC0415  it chooses a backend, which only a figure needs

    rows = [row for row in book.curves if row["attack"] is None]
    norms = [norm for norm in NAMES if any(row["norm"] == norm for row in rows)]
    if not norms:
        raise ValueError("the run has no curves, because no attack was run on its models; draw 'accuracy' instead")
    figure, axes = plt.subplots(1, len(norms), figsize=(4.5 * len(norms), 4), squeeze=False, layout="constrained")
    colors = read_colors("light")
    for norm, panel in zip(norms, axes[0], strict=True):
        for row in (row for row in rows if row["norm"] == norm):
            subject, scale = row["subject"], SCALES[norm][0]
            sizes = [scale * eps for eps in row["eps"]]
            shares = [100 * share for share in row["robust_accuracy"]]
            name = f"{name_family(book, subject)}, {name_hardening(book, subject)}"
            (line,) = panel.step(sizes, shares, where="post", label=name)
            if None not in row["robust_accuracy_low"]:  # tiles of a single group have no interval
                low, high = ([100 * share for share in row[f"robust_accuracy_{end}"]] for end in ("low", "high"))
                panel.fill_between(sizes, low, high, step="post", color=line.get_color(), alpha=0.1, linewidth=0)
        panel.set_xlabel(NAMES[norm])
        panel.set_ylim(0, 100)
        panel.set_ylabel("robust accuracy in %, with 95 % intervals")
    axes[0, 0].legend(loc="best", fontsize="small")
    if book.stamps:
        figure.suptitle("\n".join(book.stamps), fontsize="medium", color=colors["bad"], wrap=True)
    return figure
