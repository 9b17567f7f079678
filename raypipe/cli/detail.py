"""The options -q and -v of every command, before or after its name, and the amount of text that they ask for."""

import inspect
import signal
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raypipe.base.errors import ConfigError
from raypipe.base.stopping import STATUS_OF_SIGNAL, end_start
from raypipe.cli.terminal import error_output

if TYPE_CHECKING:  # importing PyTorch takes seconds that `--help` does not have
    from raypipe.progress.stage import Detail

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print only errors, warnings, and names or places of results, one a line."),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Print every epoch, cell and table, and the traceback of an error."),
]

_chosen: ContextVar["Detail"] = ContextVar("_chosen", default="normal")


def detail() -> "Detail":
    """Return the amount of text that the command was asked for."""
    return _chosen.get()


def reset_detail() -> None:
    """Forget the options of an earlier command of this process."""
    _chosen.set("normal")


def choose_detail(quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Take in the options of a command or of a group of commands. An option before the command's name counts too.

    Raises
    ------
    ConfigError
        If both are given.
    """
    quiet, verbose = quiet or detail() == "quiet", verbose or detail() == "verbose"
    if quiet and verbose:
        raise ConfigError("options", ["--quiet and --verbose: expected at most one of them"])
    _chosen.set("quiet" if quiet else "verbose" if verbose else "normal")


def with_detail(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that accepts -q and -v too, beside its own options, and that ends by Ctrl-C with its status."""

    @wraps(command)
    def choose_and_run(*, quiet: bool, verbose: bool, **given: Any) -> None:
        choose_detail(quiet, verbose)
        try:
            end_start()
            command(**given)
        except KeyboardInterrupt as error:  # during imports, and in commands without results that can be kept
            error_output().print("Stopped by SIGINT.", highlight=False)
            raise SystemExit(STATUS_OF_SIGNAL + signal.SIGINT) from error

    signature = inspect.signature(command)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("quiet", Quiet), ("verbose", Verbose))
    ]
    vars(choose_and_run)["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), *added])
    choose_and_run.__annotations__ = {**command.__annotations__, "quiet": Quiet, "verbose": Verbose}
    return choose_and_run
