"""The options of `raypipe evaluate` that accept or refuse a model, and the files that CI systems read."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raypipe.base.errors import ConfigError
from raypipe.base.places import require_writable_file
from raypipe.cli.options import local_path

if TYPE_CHECKING:  # they import PyTorch
    from raypipe.evaluation.requirements import Requirement
    from raypipe.evaluation.results.run import Run
    from raypipe.export.gates.outcomes import GateOutcome
    from raypipe.report.layout import Book

FailUnder = Annotated[
    list[str],
    typer.Option(
        "--fail-under",
        metavar="NAME=SHARE",
        help="Smallest accuracy, or exit status 3: robust=0.4@linf:4/255, clean=0.8 or worst=0.3. Repeatable.",
    ),
]
JunitFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="JUnit XML file, a test for each requirement and check.", callback=local_path),
]
SarifFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="SARIF file, a result for each requirement and check.", callback=local_path),
]


def read_requirements(texts: Sequence[str]) -> "tuple[Requirement, ...]":
    """Return the requirements of an option.

    Raises
    ------
    ConfigError
        If texts are no requirements; all of them are listed.
    """
    from raypipe.evaluation.requirements import read_requirement

    found, problems = [], []
    for text in texts:
        try:
            found.append(read_requirement(text))
        except ValueError as error:
            problems.append(f"--fail-under {error}")
    if problems:
        raise ConfigError("evaluate", problems)
    return tuple(dict.fromkeys(found))


def require_places(*files: Path | None) -> None:
    """Require that every file can be written, before any work.

    Raises
    ------
    OSError
        If one cannot.
    """
    for file in files:
        if file is not None:
            require_writable_file(file)


def write_gates(
    book: "Book",
    run: "Run",
    requirements: "Sequence[Requirement]",
    model: str,
    junit: Path | None,
    sarif: Path | None,
) -> "tuple[GateOutcome, ...]":
    """Write the files of an evaluation of one model, and return the requirements that it does not meet.

    Parameters
    ----------
    book, run
        Results and record of the evaluation.
    requirements
        Requirements on the model.
    model
        The model as the command names it, which SARIF points to.
    junit, sarif
        Files to write; None writes none.
    """
    from raypipe.export.gates.junit import write_junit
    from raypipe.export.gates.outcomes import REQUIREMENT, judge_gates
    from raypipe.export.gates.sarif import write_sarif

    (subject,) = run.subjects
    outcomes = judge_gates(book, subject.id, requirements)
    if junit is not None:
        junit.write_bytes(write_junit(outcomes, subject.id))
    if sarif is not None:
        sarif.write_bytes(write_sarif(outcomes, subject.id, model))
    return tuple(outcome for outcome in outcomes if outcome.kind == REQUIREMENT and outcome.state == "fail")
