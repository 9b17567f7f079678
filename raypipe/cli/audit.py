"""The command `raypipe audit`: siblings in a data set, and the leakage of a random split."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from raypipe.base.places import require_writable_file
from raypipe.cli.detail import detail
from raypipe.cli.errors import errors_of
from raypipe.cli.options import AsJson, BitDepth, file_to_write
from raypipe.cli.terminal import output, print_json


def audit(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Folder or zip archive with one folder for each class.")],
    groups: Annotated[
        str | None, typer.Option(metavar="CSV", help="CSV with the columns filename, label and group.")
    ] = None,
    group_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Regular expression for file names; its first group is the case."),
    ] = None,
    out: Annotated[Path | None, file_to_write("a CSV with the found groups", "CSV")] = None,
    train_fraction: Annotated[
        float, typer.Option(help="Share of training tiles in the random split that is checked.")
    ] = 0.7,
    bit_depth: BitDepth = None,
    seed: Annotated[int, typer.Option(help="Seed of the random split.")] = 0,
    pairs: Annotated[int, typer.Option(min=0, help="Number of closest pairs to print.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = os.cpu_count() or 1,
    as_json: AsJson = False,
) -> None:
    """Find augmented siblings, and count the test tiles of a random split that have one in training."""
    from raypipe.data.audit.audit import audit_source, open_data, write_groups
    from raypipe.progress.stage import stage_progress
    from raypipe.report.audit import render_audit, summarize_audit

    console = output(as_json=as_json)
    with errors_of("audit"):
        if out is not None:
            require_writable_file(out)
        source = open_data(data, groups, group_pattern)
        found = audit_source(
            source,
            by_name=group_pattern is not None,
            train_fraction=train_fraction,
            seed=seed,
            workers=workers,
            bit_depth=bit_depth,
            progress=partial(stage_progress, console, detail=detail()),
        )
        if out is not None:
            write_groups(found.tiles, out)
    if as_json:
        print_json({**summarize_audit(found, pairs), "out": out and str(out)})
    elif detail() != "quiet":
        for table in render_audit(found, data, pairs):
            console.print(table)
    if out is not None:
        console.print(f"Groups: {out}", soft_wrap=True, highlight=False)
