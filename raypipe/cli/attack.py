"""The command `raypipe attack`: one attack on one model and a folder of tiles, without an experiment file."""

import shutil
from typing import Annotated, Any

import typer

from raypipe.base.errors import StageError
from raypipe.cli.detail import detail
from raypipe.cli.errors import errors_of
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
    Out,
    Size,
    Std,
    Tiles,
    Weights,
)
from raypipe.cli.options import AsJson, BitDepth, Overrides, force, names_within
from raypipe.cli.signals import stop_signals
from raypipe.cli.terminal import output, print_json

BLIND = 0.5
"""Share of the attacked tiles without a gradient from which on the command fails."""


def attack(
    model: ModelArgument,
    folder: FolderArgument,
    out: Out,
    name: Annotated[str, typer.Option("--attack", help="Name of the attack in experiment files.")] = "deepfool",
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
    force: Annotated[bool, force("the PNG files of an earlier attack; stored results are reused")] = False,
    as_json: AsJson = False,
) -> None:
    """Attack a model on a folder of tiles, and write the adversarial tiles as PNG files and a table."""
    from raypipe.attacks import AttackSettings
    from raypipe.execution.attack_model import attack_model
    from raypipe.execution.python_api import open_results
    from raypipe.experiment.load import apply_overrides, validate_settings
    from raypipe.export.pictures import IMAGES, write_pictures
    from raypipe.report.attack import summarize_attack, tabulate_attack
    from raypipe.report.fitting_table import render_table

    raw: dict[str, Any] = apply_overrides({"name": name}, names_within(f"attacks.{name}", overrides), "attack")
    chosen = validate_settings(AttackSettings, raw, "attack")
    console = output(as_json=as_json)
    kept = f"while it attacked. Finished shards are kept in {out}: run the same command again to continue."
    with stop_signals(console, kept), errors_of("attack"):
        store = open_results(out)
        if (out / IMAGES).exists() and not force:
            raise FileExistsError(f"{out / IMAGES} has the tiles of an attack: give a new folder, or --force")
        opened, tested = Given(
            model, folder, weights, labels, size, mean, std, tiles, groups, group_pattern, device, bit_depth
        ).open()
        made = attack_model(opened, tested, chosen, store, batch_size=batch, console=console, detail=detail())
    if (out / IMAGES).exists():
        shutil.rmtree(out / IMAGES)
    write_pictures(made.tiles, made.adversarials, made.rejected, out)
    if as_json:
        about = {"model": opened.name, "attack": chosen.name, "device": made.device, "folder": str(out)}
        print_json({**about, **summarize_attack(made.adversarials), "rejected": made.rejected.num_rows,
                    "without_gradient": made.without_gradient})  # fmt: skip
    elif detail() != "quiet":
        console.print(render_table(tabulate_attack(made.adversarials, chosen, opened.name, made.device)))
    if rejected := made.rejected.num_rows:
        files = f"{rejected} file{'s' * (rejected > 1)}"
        console.print(f"{files} could not be read: {out / 'rejected.parquet'}", soft_wrap=True)
    if (restriction := tested.listing.source.restriction) is not None:
        console.print(f"These pictures must not be passed on: {restriction}", style="bold red", markup=False)
    console.print(f"Adversarial tiles: {out}", soft_wrap=True, highlight=False)
    if made.without_gradient >= BLIND:
        raise StageError("attack: most tiles have no gradient, so this white-box attack cannot show robustness")
