"""The command `raypipe export`: a model of a run as files that others can use without raypipe."""

from pathlib import Path
from typing import Annotated

import typer

from raypipe.cli.terminal import output
from raypipe.experiment.load import ConfigError
from raypipe.storage.store import Store


def export(
    name: Annotated[str, typer.Argument(metavar="RUN", help="The run's name.")],
    model: Annotated[str, typer.Option("--model", help="The model, as the tables of the run name it.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A new folder.")],
    storage: Annotated[str, typer.Option(help="Where the run's results are.")] = "results",
    licence: Annotated[str | None, typer.Option(help="Of the weights, as an SPDX identifier: apache-2.0.")] = None,
) -> None:
    """Write a model of a run with its card: safetensors, plain PyTorch source and ONNX."""
    from raypipe.export.write import export_model  # noqa: PLC0415  tracing is slow to import

    console = output()
    try:
        done = export_model(Store.open(storage), name, model, to, licence)
    except (FileExistsError, ValueError) as error:
        raise ConfigError("export", [str(error)]) from error
    for form in done.forms:
        said = f"not written: {form.reason}" if form.reason else f"as the model on stored tiles: {form.difference:.1e}"
        console.print(f"{form.file}: {said}", style="bold red" if form.reason else None, markup=False, soft_wrap=True)
    console.print(f"Exported: {done.folder}", soft_wrap=True, highlight=False)
