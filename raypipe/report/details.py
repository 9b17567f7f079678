"""Detailed tables of a run: distortions, calibration, differences, seeds and costs."""

from collections import defaultdict
from collections.abc import Sequence

from raypipe.evaluation.protocols import ITSELF, Role
from raypipe.evaluation.results.outcomes import WORST_CASE
from raypipe.evaluation.statistics.calibration import METHOD as CALIBRATION_METHOD
from raypipe.evaluation.statistics.comparison import summarize_over_seeds
from raypipe.evaluation.statistics.intervals import DIFFERENCE_METHOD, METHOD, P_VALUE_METHOD
from raypipe.report.cells import format_model
from raypipe.report.layout import (
    Book,
    Row,
    describe_threat,
    format_p_value,
    format_percent,
    format_with_interval,
    name_or_dash,
)
from raypipe.report.names import name_attack
from raypipe.report.scope import describe_attacked_tiles, describe_test_tiles
from raypipe.report.sheet import Cell, Sheet

COUNTED = "Passes are counted per tile. Seconds are summed over all workers; for a training, over its epochs."

SCALES = {"l0": (1, ".0f"), "l2": (1, ".3f"), "linf": (255, ".1f")}
"""Factor and number format of the distortions of each norm: changed channel values in L0, length with pixels in [0, 1]
in L2, and steps of 1/255 in L-infinity."""


def tabulate_distortions(book: Book) -> Sheet | None:
    """Return a table of medians and quartiles of each model's smallest perturbations, over all attacks."""
    rows = [row for row in book.curves if row["attack"] is None]
    if not rows:
        return None
    title = "Minimum perturbations over all attacks: median and quartiles over correctly classified tiles"
    table = Sheet(f"{title}; {describe_attacked_tiles(book)}")
    table.add_columns("model")
    table.add_columns("L0 (changed\nchannel values)", "L2", "L-infinity\n(1/255)", "fooled tiles", figures=True)
    for subject in book.subjects:
        own = {row["norm"]: row for row in rows if row["subject"] == subject}
        if own:
            figures = [_format_quartiles(own[norm]["quartiles"], norm) for norm in SCALES]
            table.add_row(format_model(book, subject), *figures, f"{own['l2']['fooled']} of {own['l2']['attacked']}")
    return table


def _format_quartiles(found: dict[str, float | None], norm: str) -> str:
    scale, form = SCALES[norm]

    def write(size: float | None) -> str:
        return "-" if size is None else f"{scale * size:{form}}"

    return f"{write(found['median'])} [{write(found['lower'])}, {write(found['upper'])}]"


def tabulate_calibration(book: Book) -> Sheet:
    """Return a table of the calibration of the models, clean and under attack."""
    table = Sheet(f"Calibration. Expected calibration error and mean confidence, in %; {describe_attacked_tiles(book)}")
    table.caption = CALIBRATION_METHOD
    table.add_columns("model")
    table.add_columns("clean: error", "confidence", "attacked: error", "confidence", figures=True)
    table.add_columns("attack")
    for subject in book.subjects:
        clean = book.find_clean(subject)
        attacked = [
            row
            for row in book.find_records(subject)
            if row["protocol"] in ITSELF and row["role"] in (Role.GRID, Role.EVALUATION)
        ]
        worst = max(attacked, key=lambda row: row["calibration_error"] or 0, default=None)
        table.add_row(
            format_model(book, subject),
            format_with_interval(clean, "calibration_error"),
            format_percent(clean["confidence"]),
            format_with_interval(worst, "calibration_error"),
            format_percent(worst["confidence"]) if worst else "-",
            name_attack(worst["attack"]) if worst else "-",
        )
    return table


def tabulate_differences(book: Book) -> Sheet | None:
    """Return a table of differences: gain of a defense, bias of static evaluation, effect of leakage."""
    rows = [row for row in book.differences if _is_important(row)]
    if not rows:
        return None
    title = "Differences in accuracy, in percentage points, paired by tile unless noted otherwise"
    table = Sheet(f"{title}; {describe_attacked_tiles(book)}; clean: {describe_test_tiles(book)}")
    table.add_columns("model", "minus", "measure", "attack")
    table.add_columns("difference [95 %]", "only first /\nsecond correct", "p (adjusted)", figures=True)
    for row in rows:
        under = row["attack"] or (describe_threat(row) if row["norm"] else "-")
        counts = f"{row['only_first']} / {row['only_second']}" if row["paired"] else "not paired"
        p_value = format_p_value(row["p_adjusted"])
        itself = row["against"] == row["subject"]
        against = Cell("itself") if itself else format_model(book, row["against"])._replace(kind="")
        table.add_row(
            format_model(book, row["subject"]),
            against,
            row["measure"],
            under,
            format_with_interval(row, "difference"),
            counts,
            p_value,
        )
    table.caption = f"{METHOD} {DIFFERENCE_METHOD} {P_VALUE_METHOD}"
    return table


def _is_important(row: Row) -> bool:
    """Return True if a difference is one of the most important ones. The run's files hold all of them."""
    if row["measure"] == "static less adaptive":
        return row["hardened_on"] in (None, row["attack"])
    return row["measure"] in ("clean", WORST_CASE)


def tabulate_seeds(book: Book) -> Sheet | None:
    """Return a table of the mean and spread of accuracy over the training seeds; None with a single seed."""
    if len({row["seed"] for row in book.subjects.values()}) < 2:
        return None
    kin = ("model", "split", "defense", "hardened_on", "protocol", "attack", "norm", "eps")
    found: dict[tuple[object, ...], list[float]] = defaultdict(list)
    for row in book.records:
        if row["role"] in ("grid", "evaluation") and row["protocol"] != "transfer":
            found[tuple(row[name] for name in kin)].append(row["accuracy"])
    title = "Over seeds. Accuracy: mean and sample standard deviation, in %"
    table = Sheet(f"{title}; {describe_attacked_tiles(book)}; clean: {describe_test_tiles(book)}")
    table.add_columns("model", "split", "defense", "hardened with", "protocol", "attack")
    table.add_columns("mean", "standard\ndeviation", "seeds", figures=True)
    for (model, split, defense, hardened_on, protocol, attack, norm, eps), accuracies in found.items():
        spread = summarize_over_seeds(accuracies)
        under = attack or (describe_threat({"norm": norm, "eps": eps}) if norm else None)
        names = [str(name_or_dash(name)) for name in (model, split, defense, hardened_on, protocol, under)]  # type: ignore[arg-type]
        table.add_row(*names, format_percent(spread.mean), f"{100 * spread.deviation:.1f}", str(spread.seeds))
    return table


def tabulate_candidates(book: Book) -> Sheet | None:
    """Return a table of the settings that each search tried; None without a search."""
    if not book.candidates:
        return None
    table = Sheet("Search of settings. Accuracy of each candidate on held-out training tiles, in %")
    table.add_columns("model")
    table.add_columns("candidate", figures=True)
    table.add_columns("settings", "state", "measure")
    table.add_columns("epochs", "held-out", figures=True)
    for subject in book.subjects:
        for row in (row for row in book.candidates if row["subject"] == subject):
            state = Cell("chosen", tone="good") if row["chosen"] else Cell(row["state"])
            settings = ", ".join(row["settings"]) or "-"
            epochs = f"{row['epochs']} of {row['all_epochs']}"
            name, number = format_model(book, subject), str(row["candidate"])
            table.add_row(name, number, settings, state, row["measure"], epochs, format_percent(row["score"]))
        table.add_section()
    table.caption = (
        "No candidate was rated on test tiles. Stopped: worse than other candidates after the same number of epochs. "
        "Diverged: the loss was not finite. Robust accuracy: under the evaluation's bounded attack on the candidate "
        "itself. The best of many candidates on few tiles is in part lucky, so its held-out figure is too high."
    )
    return table


def tabulate_stage_costs(book: Book) -> Sheet | None:
    """Return a table of the cost of every stage."""
    if not (costs := _list_costs(book)):
        return None
    table = Sheet("Cost by stage", caption=COUNTED)
    table.add_columns("stage")
    table.add_columns("cells", "forward\npasses", "backward\npasses", "seconds", figures=True)
    table.add_columns("device")
    for stage in dict.fromkeys(row["stage"] for row in costs):
        table.add_row(stage, *_sum_up([row for row in costs if row["stage"] == stage]))
    table.add_section()
    table.add_row("all", *_sum_up(costs))
    return table


def tabulate_model_costs(book: Book) -> Sheet | None:
    """Return a table of the seconds of each model, by stage."""
    if not (costs := _list_costs(book)):
        return None
    stages = list(dict.fromkeys(row["stage"] for row in costs))
    table = Sheet("Seconds of all workers, by model and stage", caption=COUNTED)
    table.add_columns("model")
    table.add_columns(*stages, "all", figures=True)
    for model in dict.fromkeys(row["model"] for row in costs):
        own = [row for row in costs if row["model"] == model]
        spent = [sum(row["seconds"] for row in own if row["stage"] == stage) for stage in stages]
        table.add_row(model, *(f"{seconds:,.1f}" if seconds else "-" for seconds in (*spent, sum(spent))))
    return table


def tabulate_cell_costs(book: Book) -> Sheet | None:
    """Return a table of the cost of every cell."""
    if not (costs := _list_costs(book)):
        return None
    table = Sheet("Cost of each cell", caption=COUNTED)
    table.add_columns("stage", "cell")
    table.add_columns("forward\npasses", "backward\npasses", "seconds", figures=True)
    table.add_columns("device")
    for row in costs:
        _, *figures = _sum_up([row])
        table.add_row(row["stage"], row["cell"], *figures)
    return table


def _list_costs(book: Book) -> list[Row]:
    return [row for row in book.costs if row["seconds"] is not None]


def _sum_up(costs: Sequence[Row]) -> tuple[str, ...]:
    passes = (f"{sum(row[name] for row in costs):,}" for name in ("forwards", "backwards"))
    devices = sorted({row["device"] for row in costs} - {""})
    return (str(len(costs)), *passes, f"{sum(row['seconds'] for row in costs):,.1f}", name_or_dash("+".join(devices)))


def tabulate_attack_costs(book: Book) -> Sheet | None:
    """Return a table of the attacks' cost, by model and by role of the attacks.

    It gives the passes per tile, and the seconds of all workers.
    """
    rows = {row["tiles_key"]: row for row in book.records if row["forwards"] is not None}
    if not rows:
        return None
    table = Sheet("Cost of the attacks on each model itself, over its test tiles")
    table.add_columns("model", "purpose")
    table.add_columns("attacks", "forward passes\nper tile", "backward passes\nper tile", "seconds", figures=True)
    table.add_columns("device")
    for subject in book.subjects:
        own = [row for row in rows.values() if row["subject"] == subject]
        for role in dict.fromkeys(row["role"] for row in own):
            made = [row for row in own if row["role"] == role]
            each = [f"{sum(row[name] / row['tiles'] for row in made):.1f}" for name in ("forwards", "backwards")]
            seconds = f"{sum(row['seconds'] for row in made):.1f}"
            table.add_row(
                format_model(book, subject), role, str(len(made)), *each, seconds, name_or_dash(made[0]["device"])
            )
    return table
