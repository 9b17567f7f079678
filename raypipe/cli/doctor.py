"""The command `raypipe doctor`: checks of this machine, with a remedy for each finding."""

import typer
from rich.table import Table
from rich.text import Text

from raypipe.cli.detail import detail
from raypipe.cli.options import AsJson, RunStorage
from raypipe.cli.terminal import output, print_json

STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}
SIGNS = {"ok": "\u2713", "note": "!", "problem": "\u2717"}


def doctor(
    storage: RunStorage = "results",
    as_json: AsJson = False,
) -> None:
    """Check this machine for runs: versions, GPU, ports, memory, storage and more. Exit with 1 if something fails."""
    from raypipe.execution.machine import check_machine

    findings = list(check_machine(storage))
    failed = any(finding.state == "problem" for finding in findings)
    if as_json:
        print_json([finding._asdict() for finding in findings])
        raise typer.Exit(int(failed))
    console, quiet = output(), detail() == "quiet"
    table = Table.grid(padding=(0, 1))
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        if not quiet or finding.state != "ok":
            text = f"{finding.text}; {finding.remedy}" if finding.remedy else finding.text
            table.add_row(Text(SIGNS[finding.state], STYLES[finding.state]), Text(finding.check), Text(text))
    console.print(table)
    counts = {state: sum(finding.state == state for finding in findings) for state in STYLES}
    if not quiet:
        console.print(f"{counts['problem']} problems, {counts['note']} notes, {counts['ok']} ok", highlight=False)
    raise typer.Exit(int(failed))
