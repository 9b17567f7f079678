"""Learning curves: loss and accuracy of each fit by epoch, on training and on validation tiles."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from raypipe.evaluation.results.run import Run
from raypipe.report.figures.theme import ATTACKED, CLEAN, canvas, legend_above, percent_axis, svg
from raypipe.storage.store import Store

SERIES = {"training": ("", CLEAN, "-"), "validation": ("validation_", ATTACKED, "--")}
"""Prefix of the fields of an epoch's record, and color and style of the line, by name."""


def learning_curves(run: Run, store: Store) -> dict[str, str]:
    """Return a figure for each model of the run that has at least two epochs; the keys are captions."""
    found = {}
    for number, subject in enumerate(run.subjects):
        history = (store.manifest("model", subject.key) or {}).get("history", [])
        if len(history) > 1:
            found[f"{subject.id}: loss and accuracy by epoch."] = learning_figure(history, f"learning-{number}")
    return found


def learning_figure(history: Sequence[Mapping[str, Any]], name: str) -> str:
    """Draw loss and accuracy side by side.

    Parameters
    ----------
    history
        One `raypipe.training.fit.EpochRecord` per epoch, from a model's manifest. Missing figures are left out.
    name
        Name of the figure, unique on the page.
    """
    with canvas(700, 170, 1, 2) as (figure, panels):
        lines = {}
        for axes, figure_name, scale in zip(panels.flat, ("loss", "accuracy"), (1, 100), strict=True):
            axes.set_title(figure_name)
            for label, (prefix, color, style) in SERIES.items():
                points = [(epoch["epoch"], epoch.get(prefix + figure_name)) for epoch in history]
                shown = [(epoch, scale * value) for epoch, value in points if value is not None]
                if shown:
                    (lines[label],) = axes.plot(*zip(*shown, strict=True), color=color, linestyle=style)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panels[0, 0].set_ylim(bottom=0)
        percent_axis(panels[0, 1], vertical=True)
        legend_above(figure, list(lines.values()), list(lines))
        return svg(figure, name)
