"""The command `raypipe export`: a model of a run as files that others can use without raypipe."""

from pathlib import Path
from typing import Annotated

import typer

from raypipe.base.errors import ConfigError
from raypipe.cli.terminal import output
from raypipe.storage.store import Store


def export(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")],
    model: Annotated[str, typer.Option("--model", help="Name of the model in the tables of the run.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="New folder for the model.")],
    storage: Annotated[str, typer.Option(help="Store of the run: a folder or a URI.")] = "results",
    weights_license: Annotated[
        str | None, typer.Option("--license", help="License of the weights as an SPDX identifier, such as apache-2.0.")
    ] = None,
) -> None:
    """Export a model of a run as safetensors, plain PyTorch source and ONNX, with a model card."""
    from raypipe.export.write import export_model  # noqa: PLC0415  tracing is slow to import

    console = output()
    try:
        done = export_model(Store.open(storage), name, model, to, weights_license)
    except (FileExistsError, ValueError) as error:
        raise ConfigError("export", [str(error)]) from error
    for form in done.forms:
        said = f"not written: {form.reason}" if form.reason else f"as the model on stored tiles: {form.difference:.1e}"
        console.print(f"{form.file}: {said}", style="bold red" if form.reason else None, markup=False, soft_wrap=True)
    console.print(f"Exported: {done.folder}", soft_wrap=True, highlight=False)
