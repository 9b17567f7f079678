"""Figure of the time that the workers spent."""

from collections import defaultdict

from matplotlib.patches import Patch

from raypipe.report.figures.theme import FAINT, INK, SERIES, canvas, legend_above, svg
from raypipe.report.layout import Book


def costs_figure(book: Book) -> str | None:
    """Draw the seconds that the workers spent on each model, by stage."""
    spent: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in book.costs:
        if row["seconds"] is not None:
            spent[row["model"]][row["stage"]] += row["seconds"]
    stages = list(dict.fromkeys(stage for by_stage in spent.values() for stage in by_stage))
    if not stages:
        return None
    with canvas(1000, 22 * len(spent) + 80) as (figure, panels):
        axes = panels[0, 0]
        for place, by_stage in enumerate(spent.values()):
            begin = 0.0
            for stage, seconds in by_stage.items():
                axes.barh(place, seconds, 0.7, left=begin, color=SERIES[stages.index(stage) % len(SERIES)])
                begin += seconds
            axes.annotate(
                f"{begin:.0f} s",
                (begin, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=FAINT,
            )
        axes.set_yticks(range(len(spent)), list(spent), color=INK, fontsize=8.5)
        axes.set_ylim(len(spent) - 0.4, -0.6)
        axes.tick_params("y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("seconds of all workers")
        legend_above(figure, [Patch(color=SERIES[number % len(SERIES)]) for number, _ in enumerate(stages)], stages)
        return svg(figure, "costs")
