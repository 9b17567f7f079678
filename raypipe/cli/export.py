"""The command `raypipe export`: a model of a run as files that others can use without raypipe."""

from pathlib import Path
from typing import Annotated

import typer

from raypipe.cli.detail import detail
from raypipe.cli.errors import errors_of
from raypipe.cli.options import AsJson, RunName, RunStorage, folder_to_write, force, open_store
from raypipe.cli.terminal import output, print_json


def export(
    name: RunName,
    model: Annotated[str, typer.Option("--model", help="Name of the model in the tables of the run.")],
    out: Annotated[Path, folder_to_write("a new one for the model")],
    storage: RunStorage = "results",
    weights_license: Annotated[
        str | None, typer.Option("--license", help="License of the weights as an SPDX identifier, such as apache-2.0.")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Repository of the Hugging Face hub to upload to; token: HF_TOKEN."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    force: Annotated[bool, force("the folder of an earlier export")] = False,
    as_json: AsJson = False,
) -> None:
    """Export a model of a run as safetensors, plain PyTorch source and ONNX, with a model card."""
    from raypipe.export.push import push_folder, require_hub
    from raypipe.export.write import export_model

    console, where = output(as_json=as_json), None
    with errors_of("export"):
        if push is not None:
            require_hub(push)
        done = export_model(open_store(storage), name, model, out, weights_license, force=force)
    for form in done.forms:
        if detail() == "quiet" and not form.reason:
            continue
        said = f"not written: {form.reason}" if form.reason else f"as the model on stored tiles: {form.difference:.1e}"
        console.print(f"{form.file}: {said}", style="bold red" if form.reason else None, markup=False, soft_wrap=True)
    console.print(f"Exported: {done.folder}", soft_wrap=True, highlight=False)
    if push is not None:
        where = push_folder(done.folder, push, private=private)
        console.print(f"Uploaded: {where}", soft_wrap=True, highlight=False)
    if as_json:
        forms = [{"file": form.file, "difference": form.difference, "reason": form.reason} for form in done.forms]
        print_json({"folder": str(done.folder), "forms": forms, "uploaded": where})
