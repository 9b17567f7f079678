"""The command `raypipe evaluate`: the evaluation of one model on a folder of tiles, without an experiment file."""

from pathlib import Path
from typing import Annotated, Any

import typer

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
    Size,
    Std,
    Tiles,
    Weights,
    told_of,
)
from raypipe.cli.terminal import output
from raypipe.experiment.load import overridden, validated


def evaluate(
    model: ModelArgument,
    folder: FolderArgument,
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="New folder for the results, or the folder of an evaluation to continue."),
    ],
    attacks: Annotated[
        str, typer.Option(help="Comma-separated names of attacks; AutoAttack always runs too.")
    ] = "deepfool",
    eps: Annotated[
        str | None, typer.Option(help="Radius of bounded attacks, the worst case and the sanity checks, such as 4/255.")
    ] = None,
    norm: Annotated[str, typer.Option(help="Norm of eps: linf or l2.")] = "linf",
    settings: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="Override a setting of `evaluation`, such as checks.max_queries=100."
        ),
    ] = [],  # noqa: B006  typer requires a list
    weights: Weights = None,
    labels: Labels = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    tiles: Tiles = None,
    groups: Groups = None,
    group_pattern: GroupPattern = None,
    device: Device = None,
    batch: Batch = None,
) -> None:
    """Evaluate a model on a folder of tiles: clean accuracy, robust accuracy and sanity checks."""
    from raypipe.evaluation.settings import Evaluation  # noqa: PLC0415
    from raypipe.report.layout import Book  # noqa: PLC0415
    from raypipe.report.sections import sections_of_one, verdicts  # noqa: PLC0415
    from raypipe.report.tables import line_of, table_of  # noqa: PLC0415
    from raypipe.standalone.calls import store_for  # noqa: PLC0415
    from raypipe.standalone.evaluate import RESULTS_FILE, evaluate_model  # noqa: PLC0415

    raw = overridden(_raw(attacks.split(","), eps, norm), settings, "evaluate")
    chosen: Evaluation = validated(Evaluation, raw, "evaluate")
    console = output()
    with told_of("evaluate"):
        opened, read = Given(
            model, folder, weights, labels, size, mean, std, tiles, groups, group_pattern, device
        ).open()
        store = store_for(out, opened.name)
        result = evaluate_model(
            opened, read, chosen, store, batch_size=batch, say=lambda text: console.print(text, markup=False)
        )
    book = Book.from_result(result)
    for note in verdicts(book):
        console.print(line_of(note))
    for sheet, notes in sections_of_one(book):
        console.print(table_of(sheet), *map(line_of, notes), sep="\n")
    if read.rejected.num_rows:
        console.print(
            f"{read.rejected.num_rows} files could not be read, and are not part of the results.", style="yellow"
        )
    console.print(f"Results: {result.location}/{RESULTS_FILE}", soft_wrap=True, highlight=False)


def _raw(attacks: list[str], eps: str | None, norm: str) -> dict[str, Any]:
    """Return the section ``evaluation`` that corresponds to the options."""
    from raypipe.attacks import ATTACKS  # noqa: PLC0415
    from raypipe.attacks.engine.norms import BoundedAttack  # noqa: PLC0415
    from raypipe.evaluation.settings import Evaluation  # noqa: PLC0415

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
