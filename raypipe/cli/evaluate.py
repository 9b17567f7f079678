"""The command `raypipe evaluate`: the evaluation of one model on a folder of tiles, without an experiment file."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raypipe.base.errors import RequirementError, StageError
from raypipe.cli.detail import detail
from raypipe.cli.errors import errors_of
from raypipe.cli.gates import FailUnder, JunitFile, SarifFile, read_requirements, require_places, write_gates
from raypipe.cli.given import (
    Batch,
    Device,
    FolderArgument,
    Given,
    GroupPattern,
    Groups,
    Labels,
    Mean,
    ModelArgument,
    Name,
    Out,
    Size,
    Std,
    Tiles,
    Weights,
)
from raypipe.cli.options import All, AsJson, BitDepth, Overrides, force, names_within
from raypipe.cli.signals import stop_signals
from raypipe.cli.terminal import output

if TYPE_CHECKING:  # they import PyTorch
    from raypipe.evaluation.results.run import Run
    from raypipe.export.gates.outcomes import GateOutcome
    from raypipe.models.finished_model import FinishedModel


def evaluate(
    model: ModelArgument,
    folder: FolderArgument,
    out: Out,
    attacks: Annotated[
        str, typer.Option(help="Comma-separated names of attacks; AutoAttack always runs too.")
    ] = "deepfool",
    eps: Annotated[
        str | None, typer.Option(help="Radius of bounded attacks, the worst case and the sanity checks, such as 4/255.")
    ] = None,
    norm: Annotated[str, typer.Option(help="Norm of eps: linf or l2.")] = "linf",
    overrides: Overrides = [],
    weights: Weights = None,
    labels: Labels = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    tiles: Tiles = None,
    groups: Groups = None,
    group_pattern: GroupPattern = None,
    device: Device = None,
    bit_depth: BitDepth = None,
    batch: Batch = None,
    every: All = False,
    as_json: AsJson = False,
    name: Name = None,
    fail_under: FailUnder = [],
    junit: JunitFile = None,
    sarif: SarifFile = None,
    force: Annotated[bool, force("everything is computed again")] = False,
) -> None:
    """Evaluate a model on a folder of tiles: clean accuracy, robust accuracy and sanity checks."""
    from raypipe.evaluation.protocols import Protocol
    from raypipe.evaluation.requirements import add_radii
    from raypipe.evaluation.results.result import serialize_result
    from raypipe.evaluation.settings import Evaluation
    from raypipe.execution.evaluate_model import evaluate_model
    from raypipe.execution.python_api import open_results
    from raypipe.experiment.load import apply_overrides, validate_settings
    from raypipe.report.layout import Book
    from raypipe.report.screen import render_evaluation
    from raypipe.report.tables import render_tables

    fields = names_within("evaluation", overrides)
    raw = apply_overrides(_build_section(attacks.split(","), eps, norm), fields, "evaluate")
    required = read_requirements(fail_under)
    chosen: Evaluation = add_radii(validate_settings(Evaluation, raw, "evaluate"), required)
    console = output(as_json=as_json)
    with stop_signals(console), errors_of("evaluate"):
        require_places(junit, sarif)
        store = open_results(out)
        opened, tested = Given(
            model, folder, weights, labels, size, mean, std, tiles, groups, group_pattern, device, bit_depth, name
        ).open()
        run, result, report = evaluate_model(
            opened, tested, chosen, store, batch_size=batch, console=console, detail=detail(), force=force
        )
    book = Book.from_result(result)
    unmet = write_gates(book, run, required, model, junit, sarif)
    if as_json:
        sys.stdout.write(serialize_result(result))
        _require_gradient(opened, run)
        _require_met(unmet)
        return
    if every or detail() == "verbose":
        console.print(*render_tables(result), sep="\n")
    if detail() == "quiet":
        console.print(f"Results: {result.location}\nReport: {report}", soft_wrap=True, highlight=False)
    else:
        places = {"storage": str(out), "folder": result.location, "report": report}
        for part in render_evaluation(book, run=result.name, **places):
            console.print(part, highlight=False)
    (clean,) = (pairing for pairing in run.pairings if pairing.protocol == Protocol.CLEAN)
    if rejected := (store.manifest("tiles", clean.tiles) or {})["rejected"]:
        console.print(f"{rejected} files could not be read, and are not part of the results.", style="yellow")
    _require_gradient(opened, run)
    _require_met(unmet)
    if required:
        console.print(f"Requirements met: {', '.join(each.text for each in required)}", soft_wrap=True, highlight=False)


def _require_met(unmet: "tuple[GateOutcome, ...]") -> None:
    """Raise an error, once everything is printed, if requirements are not met."""
    if unmet:
        lines = "\n".join(f"  {outcome.name}: {outcome.figure}" for outcome in unmet)
        raise RequirementError(f"evaluate: {len(unmet)} requirement{'s' * (len(unmet) > 1)} not met\n{lines}")


def _require_gradient(model: "FinishedModel", run: "Run") -> None:
    """Raise an error, once everything is printed, if the white-box attacks had nothing to follow."""
    knowledge = {pairing.threat.knowledge for pairing in run.pairings if pairing.threat}
    if not model.differentiable and "white-box" in knowledge:
        raise StageError("evaluate: the model has no gradient, so its white-box attacks cannot show robustness")


def _build_section(attacks: list[str], eps: str | None, norm: str) -> dict[str, Any]:
    """Return the section ``evaluation`` that corresponds to the options."""
    from raypipe.attacks import ATTACKS
    from raypipe.attacks.engine.norms import BoundedAttack
    from raypipe.evaluation.settings import Evaluation

    if eps is None:
        return {"attacks": {name: {"name": name} for name in attacks}, "transfer": False}
    ball = {"eps": eps, "norm": norm}
    bounded = [name for name, attack in ATTACKS.items() if issubclass(attack.settings, BoundedAttack)]
    return {
        "attacks": {name: {"name": name, **(ball if name in bounded else {})} for name in attacks},
        "transfer": False,
        "curves": {norm: [eps]},
        "checks": {"eps": eps},
        "bounded": Evaluation().bounded.model_dump() | ball,
    }
