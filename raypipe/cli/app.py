"""The command line: every command. `raypipe.__main__` is the entry point of the console script.

Commands import what they need when they run, because PyTorch alone takes seconds that `raypipe --help` does not have.
"""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from raypipe import __version__
from raypipe.cli import catalog, data, experiments, runs, store
from raypipe.cli.attack import attack
from raypipe.cli.audit import audit
from raypipe.cli.detail import Quiet, Verbose, choose_detail, reset_detail, with_detail
from raypipe.cli.doctor import doctor
from raypipe.cli.errors import STATUSES, tell_errors
from raypipe.cli.evaluate import evaluate
from raypipe.cli.export import export
from raypipe.cli.init import init
from raypipe.cli.options import AsJson
from raypipe.cli.terminal import escape_unencodable, help_width, output, print_json

app = typer.Typer(
    help="Measure how easily a medical image classifier is fooled, and how much a defense helps.",
    epilog="Exit status: " + " ".join(f"{status}: {meaning}" for status, meaning in STATUSES.items()),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its boxes break lines, which cannot be searched
)
COMMANDS: tuple[Callable[..., None], ...] = (
    init,
    experiments.validate,
    experiments.plan,
    experiments.run,
    runs.status,
    runs.results,
    runs.report,
    runs.compare,
    runs.index,
    runs.track,
    evaluate,
    attack,
    export,
    audit,
    catalog.describe,
    doctor,
)
for command in COMMANDS:
    app.command()(with_detail(command))
app.command("list")(with_detail(catalog.list_entries))
app.add_typer(data.app, name="data")
app.add_typer(store.app, name="store")


def _print_version(wanted: bool) -> None:
    if wanted:
        output().print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def _declare_options(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Declare the options of `raypipe` itself."""
    reset_detail()
    choose_detail(quiet, verbose)


@app.command()
@with_detail
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__})
    else:
        _print_version(True)


def limit_spinning() -> None:
    """Let idle threads of PyTorch sleep sooner, unless the user has set how they wait. PyTorch must not be loaded yet.

    They spin for up to 15 ms after each operation. While other processes use the cores, they thus keep a core from the
    threads that they wait for: on two busy cores, the evaluation of a small network took four times as long. With
    3,000 rounds an idle machine is as fast as before.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def main() -> None:
    """Run the command line."""
    limit_spinning()
    escape_unencodable(sys.stdout, sys.stderr)
    with tell_errors():
        app(terminal_width=help_width())
