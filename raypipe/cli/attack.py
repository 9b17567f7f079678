"""The command `raypipe attack`: one attack on one model and a folder of tiles, without an experiment file."""

import shutil
from typing import Annotated, Any

import typer

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
    Set,
    Size,
    Std,
    Tiles,
    Weights,
)
from raypipe.cli.options import Force
from raypipe.cli.terminal import output


def attack(
    model: ModelArgument,
    folder: FolderArgument,
    out: Out,
    name: Annotated[str, typer.Option("--attack", help="Name of the attack in experiment files.")] = "deepfool",
    settings: Set = [],
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
    force: Force = False,
) -> None:
    """Attack a model on a folder of tiles, and write the adversarial tiles as PNG files and a table."""
    from raypipe.attacks import AttackSettings
    from raypipe.experiment.load import apply_overrides, validate_settings
    from raypipe.report.tables import table_of
    from raypipe.standalone.attack import ADVERSARIALS_FILE, attack_tiles, summary, write_attacked
    from raypipe.standalone.calls import require_new

    raw: dict[str, Any] = apply_overrides({"name": name}, settings, "attack")
    chosen = validate_settings(AttackSettings, raw, "attack")
    console = output()
    with errors_of("attack"):
        if force and (out / ADVERSARIALS_FILE).is_file():
            shutil.rmtree(out)
        require_new(out)
        opened, read = Given(
            model, folder, weights, labels, size, mean, std, tiles, groups, group_pattern, device
        ).open()
        attacked = attack_tiles(opened.network, read, chosen, batch)
    write_attacked(attacked, out)
    console.print(table_of(summary(attacked, opened.name)))
    if read.rejected.num_rows:
        console.print(f"{read.rejected.num_rows} files could not be read: {out / 'rejected.parquet'}", soft_wrap=True)
    if read.restriction is not None:
        console.print(f"These pictures must not be passed on: {read.restriction}", style="bold red", markup=False)
    console.print(f"Adversarial tiles: {out}", soft_wrap=True, highlight=False)
