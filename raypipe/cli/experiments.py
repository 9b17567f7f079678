"""The commands on an experiment file: `raypipe validate`, `raypipe plan` and `raypipe run`."""

import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from raypipe.cli.detail import detail
from raypipe.cli.options import Address, All, AsJson, ExperimentFile, Overrides, Storage, force
from raypipe.cli.signals import stop_signals
from raypipe.cli.terminal import output, print_json

if TYPE_CHECKING:  # importing PyTorch takes seconds that `--help` does not have
    from raypipe.experiment.schema import Experiment
    from raypipe.plan.files import Listing
    from raypipe.plan.listing import Prepared


def validate(file: ExperimentFile, overrides: Overrides = [], as_json: AsJson = False) -> None:
    """Check an experiment file and its data, and list every error."""
    from raypipe.plan.listing import check_experiment, count_classes, outline, warn_of_few_tiles
    from raypipe.report.plan import describe_classes, describe_grid

    experiment, listings, external = check_experiment(file, overrides)
    plan, files = outline(experiment, listings, external), listings[0].items
    aside = sum(item.split is None for item in files)
    if as_json:
        warnings = list(warn_of_few_tiles(experiment, listings))
        print_json({"name": experiment.name, "cells": len(plan.cells), "files": len(files), "rejected": aside,
                     "classes": {listing.split: count_classes(listing) for listing in listings},
                     "external": {set_id: count_classes(listing)["test"] for set_id, listing in external.items()},
                     "warnings": warnings})  # fmt: skip
        return
    text = f"{file}: valid. {describe_grid(experiment, plan)}, {len(files):,} files"
    console = output()
    _warn(experiment, listings, console)
    if detail() == "quiet":
        return
    console.print(f"{text}, {aside} of them rejected" if aside else text, highlight=False, soft_wrap=True)
    for listing in listings:
        line = describe_classes(f"{listing.split} split", count_classes(listing))
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for set_id, listing in external.items():
        line = describe_classes(f"external set {set_id}", count_classes(listing))
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def plan(
    file: ExperimentFile,
    overrides: Overrides = [],
    storage: Storage = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Estimate time and cost by short trials on this machine.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of workers of the estimated run; default: as many as fit on this machine."),
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Price of one worker for an hour, in US dollars.")] = None,
    trial_tiles: Annotated[int, typer.Option(min=1, help="Number of tiles in the trial of each attack.")] = 8,
    every: All = False,
    as_json: AsJson = False,
) -> None:
    """Count the cells of an experiment, finished and missing, and estimate the missing ones."""
    from raypipe.plan.listing import prepare

    prepared, console = prepare(_load(file, overrides, storage)), output(as_json=as_json)
    every = every or detail() == "verbose"
    if estimate:
        _print_estimate(prepared, console, workers, price, trial_tiles, every, as_json)
    else:
        _print_plan(prepared, console, every, as_json)


def run(
    file: ExperimentFile,
    overrides: Overrides = [],
    storage: Storage = None,
    address: Address = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells that would run, as `raypipe plan` does, and stop.")
    ] = False,
    force: Annotated[bool, force("everything is computed again")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the missing cells of an experiment, and print the conclusion."""
    console = output(as_json=as_json)
    with stop_signals(console):
        if dry_run:
            from raypipe.plan.listing import prepare

            _print_plan(prepare(_load(file, overrides, storage)), console, detail() == "verbose", as_json)
            return
        from raypipe.evaluation.results.result import serialize_result
        from raypipe.stages.pipeline import run_experiment  # only this needs Ray

        gc.freeze()  # skip about a million objects from imports that live to the end; one pass over them takes 0.3 s
        experiment = _load(file, overrides, storage)
        result = run_experiment(experiment, address=address, console=console, force=force, detail=detail())
    if as_json:
        sys.stdout.write(serialize_result(result))


def _load(file: Path, overrides: list[str], storage: str | None) -> "Experiment":
    from raypipe.experiment.load import load_experiment

    return load_experiment(file, [*overrides, *([f"storage={storage}"] if storage else [])])


def _warn(experiment: "Experiment", listings: "Sequence[Listing]", console: Console) -> None:
    from raypipe.plan.listing import warn_of_few_tiles

    for warning in warn_of_few_tiles(experiment, listings):
        console.print(Text(warning, "bold red"), soft_wrap=True)


def _print_plan(prepared: "Prepared", console: Console, every: bool, as_json: bool) -> None:
    from raypipe.plan.cells import find_unfinished
    from raypipe.report.fitting_table import render_table
    from raypipe.report.plan import describe_plan, tabulate_cell_groups, tabulate_cells

    if as_json:
        print_json(_encode_cells(prepared))
        return
    if detail() != "quiet":
        make = tabulate_cells if every else tabulate_cell_groups
        console.print(render_table(make(prepared.plan, prepared.store)))
    _warn(prepared.experiment, prepared.listings, console)
    missing = find_unfinished(prepared.plan.cells, prepared.store)
    line = describe_plan(prepared.experiment, prepared.plan, prepared.store, len(missing))
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_estimate(
    prepared: "Prepared",
    console: Console,
    workers: int | None,
    price: float | None,
    trial_tiles: int,
    every: bool,
    as_json: bool,
) -> None:
    from raypipe.execution.forecast.forecast import forecast
    from raypipe.execution.forecast.sheets import tabulate_cells, tabulate_stages
    from raypipe.progress.pace import write_forecast
    from raypipe.progress.tree import format_duration
    from raypipe.report.fitting_table import render_table

    begun = time.perf_counter()
    with console.status("") as status:

        def say(text: str) -> None:
            status.update(f"trying {text}")
            if not console.is_terminal and detail() != "quiet":
                console.print(f"trying {text}", highlight=False)

        found = forecast(prepared, workers=workers, attacked=trial_tiles, say=say)
    write_forecast(prepared.store, prepared.experiment.name, {each.cell.key: each.seconds for each in found.cells})
    if as_json:
        seconds = {each.cell.key: each.seconds for each in found.cells}
        stages = [{"stage": each.stage, "seconds": each.wall} for each in found.stages(prepared.experiment.resources)]
        cells = [{**cell, "seconds": seconds.get(cell["key"], 0.0)} for cell in _encode_cells(prepared)]
        print_json({"workers": found.workers, "stages": stages, "cells": cells})
        return
    if every:
        console.print(render_table(tabulate_cells(prepared.experiment, found, price)))
    console.print(render_table(tabulate_stages(prepared.experiment, found, price)))
    console.print(f"The trials took {format_duration(time.perf_counter() - begun)}.", highlight=False)


def _encode_cells(prepared: "Prepared") -> list[dict[str, Any]]:
    from raypipe.plan.cells import find_unfinished

    to_do = {cell.key for cell in find_unfinished(prepared.plan.cells, prepared.store)}
    return [
        {"stage": cell.stage, "cell": cell.name, "model": cell.model, "kind": cell.kind, "key": cell.key,
         "done": cell.key not in to_do}
        for cell in prepared.plan.cells
    ]  # fmt: skip
