"""Where the time went."""

from collections import defaultdict

from matplotlib.patches import Patch

from raypipe.report.figures.theme import FAINT, INK, SERIES, canvas, legend_above, svg
from raypipe.report.layout import Book


def costs_figure(book: Book) -> str | None:
    """Seconds of the workers on attacks against each model, by what the attacks were for."""
    spent: dict[str, dict[str, float]] = {subject: defaultdict(float) for subject in book.subjects}
    counted = set()
    for row in book.records:
        if row["seconds"] is not None and row["tiles_key"] not in counted:
            counted.add(row["tiles_key"])
            spent[row["subject"]][row["role"]] += row["seconds"]
    roles = list(dict.fromkeys(role for by_role in spent.values() for role in by_role))
    if not roles:
        return None
    with canvas(1000, 22 * len(spent) + 80) as (figure, panels):
        axes = panels[0, 0]
        for place, by_role in enumerate(spent.values()):
            begin = 0.0
            for role, seconds in by_role.items():
                axes.barh(place, seconds, 0.7, left=begin, color=SERIES[roles.index(role) % len(SERIES)])
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
        legend_above(figure, [Patch(color=SERIES[number % len(SERIES)]) for number, _ in enumerate(roles)], roles)
        return svg(figure, "costs")
