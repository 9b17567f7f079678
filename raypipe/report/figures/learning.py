"""Learning curves: loss and accuracy of each fit by epoch, on training and on validation tiles."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from raypipe.evaluation.results.run import Run
from raypipe.report.cells import name_family, name_hardening
from raypipe.report.figures.theme import FAINT, INK, Key, Panel, canvas, get_variable, render_svg, set_percent_axis
from raypipe.report.layout import Book
from raypipe.storage.store import Store

LINES = {"training": ("", INK, "-"), "validation": ("validation_", FAINT, "--")}
"""Prefix of the fields of an epoch's record, and color and style of the line, by name."""


def draw_learning_panel(run: Run, book: Book, store: Store) -> Panel | None:
    """Draw the learning curves of each model that was trained for two epochs or more; None without any."""
    drawings = tuple(_draw_all(run, book, store))
    keys = tuple(Key(name, get_variable(color), style) for name, (_, color, style) in LINES.items())
    return (
        Panel("Loss and accuracy by epoch, on training and on validation tiles.", keys, drawings) if drawings else None
    )


def _draw_all(run: Run, book: Book, store: Store) -> Iterator[str]:
    for number, subject in enumerate(run.subjects):
        history = (store.manifest("model", subject.key) or {}).get("history", [])
        if len(history) > 1:
            title = f"{name_family(book, subject.id)}, {name_hardening(book, subject.id)}"
            yield draw_learning(history, f"learning-{number}", title)


def draw_learning(history: Sequence[Mapping[str, Any]], name: str, title: str) -> str:
    """Draw loss and accuracy side by side.

    Parameters
    ----------
    history
        One `raypipe.training.fit.EpochRecord` per epoch, from a model's manifest. Missing figures are left out.
    name
        Name of the figure, unique on the page.
    title
        Name of the model.
    """
    with canvas(340, 180, 1, 2) as (figure, panels):
        figure.suptitle(title, fontsize=9.5, x=0.02, ha="left", fontweight="bold")
        for axes, figure_name, scale in zip(panels.flat, ("loss", "accuracy"), (1, 100), strict=True):
            axes.set_title(figure_name, fontsize=9.5, fontweight="normal")
            for prefix, color, style in LINES.values():
                points = [(epoch["epoch"], epoch.get(prefix + figure_name)) for epoch in history]
                shown = [(epoch, scale * value) for epoch, value in points if value is not None]
                if shown:
                    axes.plot(*zip(*shown, strict=True), color=color, linestyle=style)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panels[0, 0].set_ylim(bottom=0)
        set_percent_axis(panels[0, 1], vertical=True)
        last = history[-1]
        label = f"Loss and accuracy of {title} over {len(history)} epochs; the last loss is {last['loss']:.3g}"
        return render_svg(
            figure, name, f"{label} and the last accuracy {100 * last['accuracy']:.0f} % on training tiles."
        )
