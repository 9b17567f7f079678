"""Figure of every model's accuracy for Python: the bars of the report's first chart, drawn with matplotlib."""

from typing import TYPE_CHECKING

from raypipe.report.charts import CLEAN, DIRECT, STATIC, WORST, build_robustness_chart
from raypipe.report.figures.colors import read_colors
from raypipe.report.layout import Book

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {CLEAN: "clean", STATIC: "static", DIRECT: "attacked", WORST: "worst"}
"""Variables of the page's style sheet with the color of each bar, by its measure."""
ROOM = 0.8
"""Share of a model's space that its bars take."""


def draw_bars(book: Book, axes: "Axes | None" = None) -> "Axes":
    """Draw the accuracy of every model with its interval, and the warnings that belong to it.

    Parameters
    ----------
    axes
        Axes to draw on; default: those of a new figure.
    """
    from matplotlib import patheffects  # noqa: PLC0415
    from matplotlib import pyplot as plt  # noqa: PLC0415  it chooses a backend, which only a figure needs

    chart, colors = build_robustness_chart(book), read_colors("light")
    models = [(f"{title}\n{model.name}", model.bars) for title, family in chart.panels for model in family]
    measures = list(chart.measures)
    height = ROOM / len(measures)
    outlined = [patheffects.withStroke(linewidth=4, foreground=colors["paper"])]  # to be seen on a bar of any color
    if axes is None:
        inches = (8, 1.6 + 0.26 * len(measures) * len(models))
        axes = plt.subplots(figsize=inches, layout="constrained")[1]
    for measure, text in chart.measures.items():
        for place, (_, bars) in enumerate(models):
            for bar in bars:
                if bar.measure != measure or bar.value is None:
                    continue
                at = place - ROOM / 2 + (measures.index(measure) + 0.5) * height
                axes.barh(at, bar.value, height, color=colors[COLORS[measure]], label=text)
                if bar.low is not None and bar.high is not None:
                    axes.plot([bar.low, bar.high], [at, at], color=colors["ink"], linewidth=2, path_effects=outlined)
    handles = {text: handle for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    axes.legend(
        handles.values(), handles.keys(), loc="upper left", bbox_to_anchor=(0, 0), borderaxespad=4, frameon=False
    )
    axes.set_yticks(range(len(models)), [name for name, _ in models])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy in %, with 95 % intervals")
    axes.set_title("\n".join(book.stamps), fontsize="medium", loc="left", color=colors["bad"], wrap=True)
    return axes
