"""Checks of a machine before a run: each is a function that yields findings, with a remedy in one line for each."""

from collections.abc import Callable, Iterator
from functools import partial

from raypipe.execution.machine import hardware, places, software
from raypipe.execution.machine.finding import Finding as Finding

CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    software.check_python,
    software.check_packages,
    software.check_extras,
    hardware.check_gpu,
    hardware.check_cpus,
    hardware.check_memory,
    hardware.check_shared_memory,
    hardware.check_files,
    places.check_temporary,
    places.check_ports,
    software.check_locale,
)
"""The checks, in the order of their findings. The check of the store has an argument, and comes last."""


def check_machine(storage: str) -> Iterator[Finding]:
    """Yield the findings of all checks. A check that fails itself is a problem, and does not end the others.

    Parameters
    ----------
    storage
        Store that is written to, as by a run.
    """
    for check in CHECKS:
        yield from _guard(check.__name__.removeprefix("check_"), check)
    yield from _guard("storage", partial(places.check_storage, storage))


def _guard(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001  any failure of a check is its finding
        yield Finding(name, "problem", f"cannot be checked: {error}", "report it with this line")
