"""The command `raypipe init`: a first experiment file for a data set."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from raypipe.base.errors import ConfigError
from raypipe.base.places import require_writable_file
from raypipe.cli.detail import detail
from raypipe.cli.errors import errors_of
from raypipe.cli.options import AsJson, file_to_write, force
from raypipe.cli.terminal import output, print_json


def init(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Folder, zip archive, Parquet, npz or CSV file, or a URI of one.")
    ],
    out: Annotated[Path, file_to_write("the experiment")] = Path("experiment.yaml"),
    name: Annotated[str | None, typer.Option(help="Name of the run; default: that of the data.")] = None,
    audit: Annotated[
        bool, typer.Option("--audit/--no-audit", help="Look for siblings in the pixels if names show no groups.")
    ] = True,
    estimate: Annotated[
        bool, typer.Option("--estimate/--no-estimate", help="Estimate the time of the run by short trials.")
    ] = True,
    force: Annotated[bool, force("the file, and that of found groups")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a data set, and write a commented experiment file that suits it."""
    from raypipe.execution.starter.write import start_experiment
    from raypipe.progress.stage import stage_progress

    console, quiet = output(as_json=as_json), detail() == "quiet"
    groups = out.with_name(f"{out.stem}-groups.csv")
    if existing := [str(path) for path in (out, groups) if path.exists() and not force]:
        raise ConfigError("init", [f"{', '.join(existing)}: exists; give another --out, or --force to replace it"])
    replaced = [str(path) for path in (out, groups) if path.exists()]
    with errors_of("init"), console.status("") as status:
        require_writable_file(out)

        def say(text: str) -> None:
            status.update(f"trying {text}")

        progress = partial(stage_progress, console, detail="quiet" if console.is_terminal else detail())
        written = start_experiment(data, groups, name=name, audit=audit, estimate=estimate, progress=progress, say=say)
        out.write_text(written.text, encoding="utf-8")
    if as_json:
        look = written.look
        counts = {label: look.counts[label] for label in look.labels}
        groups_file = str(written.groups) if written.groups else None
        print_json({"experiment": str(out), "groups": groups_file, "replaced": replaced, "classes": counts,
                    "rejected": look.rejected})  # fmt: skip
        return
    if replaced and not quiet:
        console.print(f"Replaced: {', '.join(replaced)}", soft_wrap=True, highlight=False, markup=False)
    if not quiet:
        for line in written.text.splitlines()[2:6]:
            console.print(line.lstrip("# "), soft_wrap=True, highlight=False, markup=False)
    if written.groups:
        console.print(f"Groups: {written.groups}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"Experiment: {out}", soft_wrap=True, highlight=False, markup=False)
    if not quiet:
        console.print(f"Next: raypipe validate {out}; raypipe run {out}", soft_wrap=True, highlight=False, markup=False)
