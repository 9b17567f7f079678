"""The forecast of an experiment, as tables."""

from raypipe.execution.forecast.records import Forecast
from raypipe.experiment.schema import Experiment
from raypipe.progress.tree import format_duration
from raypipe.report.sheet import Cell, Sheet


def tabulate_cells(experiment: Experiment, forecast: Forecast, price: float | None) -> Sheet:
    """Return the sheet of all cells to do; `price`, as in `tabulate_stages`, is applied to a cell's worker hours."""
    sheet = Sheet("Cells to do")
    sheet.add_columns("stage", "cell")
    sheet.add_columns("forwards", "backwards", "seconds", _name_unit(experiment), "MB", figures=True)
    if price is not None:
        sheet.add_columns("US dollars", figures=True)
    for each in forecast.cells:
        hours = each.seconds / 3600
        figures = (f"{each.forwards:,.0f}", f"{each.backwards:,.0f}", f"{each.seconds:,.1f}", f"{hours:,.4f}")
        dollars = [] if price is None else [f"{price * hours:,.4f}"]
        sheet.add_row(each.cell.stage, each.cell.name, *figures, f"{each.size / 1e6:,.2f}", *dollars)
    return sheet


def tabulate_stages(experiment: Experiment, forecast: Forecast, price: float | None) -> Sheet:
    """Return the sheet of all stages to do, with their sums.

    Parameters
    ----------
    price
        US dollars per worker and hour; None leaves the costs out.
    """
    at_once = f"{forecast.workers} {'worker' if forecast.workers == 1 else 'workers'}"
    sheet = Sheet(f"{experiment.name}: missing cells, on {at_once} of the kind tried here")
    sheet.add_columns("stage")
    sheet.add_columns("cells", "passes", _name_unit(experiment), "by the clock", "MB", figures=True)
    if price is not None:
        sheet.add_columns("US dollars", figures=True)
    stages = forecast.stages(experiment.resources)
    for stage in stages:
        _add_row(sheet, stage.stage, (stage.cells, stage.passes, stage.seconds, stage.wall, stage.size), price)
    nothing = [""] * (1 if price is None else 2)
    sheet.add_row("Ray's start, results, report", "", "", "", format_duration(forecast.besides), *nothing)
    sheet.add_section()
    sums = [sum(getattr(stage, name) for stage in stages) for name in ("cells", "passes", "seconds", "wall", "size")]
    sums[3] += forecast.besides
    _add_row(sheet, "all", (int(sums[0]), *sums[1:]), price, forecast.workers)
    sheet.caption = (
        "From short trials: each backbone is trained briefly, and each attack runs on a few tiles that the model "
        "classifies correctly. Better trained or hardened models need other numbers of passes. Other work here is "
        "not counted. An attack that stops at its first success takes longer on a robust model: the estimate of "
        "autoattack on one backbone can be several times too high or too low. --trial-tiles N tries attacks on N tiles."
    )
    return sheet


def _name_unit(experiment: Experiment) -> str:
    return "GPU hours" if experiment.resources.gpu else "CPU hours"


def _add_row(
    sheet: Sheet,
    name: Cell | str,
    figures: tuple[int, float, float, float, float],
    price: float | None,
    workers: int | None = None,
) -> None:
    cells, passes, seconds, wall, size = figures
    hours = f"{seconds / 3600:,.2f}"
    # Machines are billed by elapsed time, even if some of them are idle.
    dollars = [] if price is None else [f"{price * wall / 3600 * workers:,.2f}" if workers else ""]
    sheet.add_row(name, f"{cells:,}", f"{passes:,.0f}", hours, format_duration(wall), f"{size / 1e6:,.1f}", *dollars)
