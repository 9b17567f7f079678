"""The arguments that commands on a model and a folder share, and the code that opens both."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raypipe.base.text import decode_text
from raypipe.cli.options import folder_to_write

if TYPE_CHECKING:  # both import PyTorch's slower parts
    from torch import nn

    from raypipe.execution.tile_set import TileSet
    from raypipe.models.finished_model import FinishedModel

DEVICES = ("cpu", "cuda")
"""Types of devices that attacks run on. PyTorch calls AMD's GPUs cuda too."""

LONGEST_PATH = 1024
"""Number of characters from which on a value of --labels is no path."""

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Folder of `raypipe export` or of transformers; .safetensors, .pt2, TorchScript or .onnx file; "
        "robustbench:NAME; or a backbone with --weights.",
    ),
]
FolderArgument = Annotated[
    str, typer.Argument(metavar="FOLDER", help="Folder or zip archive with one folder for each class, or LC25000.")
]
Out = Annotated[Path, folder_to_write("a new one, or one with earlier results")]
Name = Annotated[
    str | None, typer.Option(help="Name of the model and its run in the results; default: the name of its file.")
]
Weights = Annotated[str | None, typer.Option(metavar="FILE", help="File with the weights of the backbone.")]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help='Names of the classes in the order of the logits: A,B or "A, with comma",B, or a file, a name a line.',
    ),
]
Size = Annotated[int | None, typer.Option(min=1, help="Height and width that tiles are resized to, in pixels.")]
Mean = Annotated[
    str | None,
    typer.Option(metavar="R,G,B", help="Mean of the normalization; default: 0.5 of a backbone, none of a program."),
]
Std = Annotated[
    str | None, typer.Option(metavar="R,G,B", help="Standard deviation of the normalization; default: as of --mean.")
]
Tiles = Annotated[
    int | None, typer.Option(min=1, help="Number of tiles, spread over as many groups as possible; default: all.")
]
Groups = Annotated[str | None, typer.Option(metavar="CSV", help="CSV with the columns filename, label and group.")]
GroupPattern = Annotated[
    str | None, typer.Option(metavar="REGEX", help="Regular expression for file names; its first group is the case.")
]
Device = Annotated[str | None, typer.Option(help="Device, such as cuda; default: a GPU if there is one.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Number of tiles in a batch; default: found by trial.")]


@dataclass(frozen=True)
class Given:
    """The arguments of a command on a model and a folder; the types above describe each."""

    model: str
    folder: str
    weights: str | None
    labels: str | None
    size: int | None
    mean: str | None
    std: str | None
    tiles: int | None
    groups: str | None
    group_pattern: str | None
    device: str | None
    bit_depth: int | None = None
    name: str | None = None

    def open(self) -> "tuple[FinishedModel, TileSet]":
        """Open the model on its device, and list the tiles.

        Raises
        ------
        ValueError
            If the model or the folder cannot be opened, or they do not fit; the message gives the remedy.
        """
        import torch

        from raypipe.data.audit.audit import choose_class_folders
        from raypipe.data.class_order import reorder_classes
        from raypipe.data.sources import open_source
        from raypipe.data.subset import choose_files
        from raypipe.execution.adapt_network import adapt_network, use_adapted
        from raypipe.execution.probe_inputs import choose_probe_tiles, report_preprocessing
        from raypipe.execution.tile_set import TileSet
        from raypipe.models.finished_model import open_model
        from raypipe.plan.files import list_test_tiles

        settings = choose_class_folders(self.folder, self.groups, self.group_pattern)
        source = open_source(settings, seed=0)
        told = read_names(self.labels) if self.labels else None
        model = open_model(
            self.model,
            told or source.labels,
            size=self.size,
            weights=self.weights,
            mean=_read_channels("--mean", self.mean),
            std=_read_channels("--std", self.std),
        )
        model = replace(model, name=self.name or model.name)
        size = self.size or model.size
        if size is None:
            raise ValueError(f"{self.model}: does not say the size of its tiles; give --size")
        _move(model.network, self.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        labeled = reorder_classes(source, told or model.labels or source.labels)
        listing = list_test_tiles(labeled, choose_files(labeled, self.tiles))
        shape = (3, size, size)
        finished = use_adapted(model, adapt_network(model.network, shape), labeled.labels)
        tiles = TileSet(listing, settings.source, size, shape, self.bit_depth)
        report_preprocessing(finished, *choose_probe_tiles(tiles))
        return finished, tiles


def read_names(text: str) -> tuple[str, ...]:
    """Return the class names of an option: separated by commas, quoted if they have one, or in a file, a name a line.

    Raises
    ------
    ValueError
        If a name is empty or occurs twice.
    """
    is_file = len(text) < LONGEST_PATH and Path(text).is_file()
    lines = decode_text(Path(text).read_bytes(), f"--labels {text}").splitlines() if is_file else []
    names = lines if is_file else next(csv.reader([text], skipinitialspace=True))
    found = tuple(name.strip() for name in names if name.strip() or not is_file)
    if not all(found) or len(set(found)) < len(found):
        raise ValueError(f"--labels {text}: expected different names, as in benign,malignant, found {', '.join(found)}")
    return found


def _move(network: "nn.Module", device: str) -> None:
    """Move a network to a device, a CPU or a GPU of NVIDIA or AMD. Raise ValueError if that fails."""
    import torch

    try:
        if torch.device(device).type not in DEVICES:
            raise ValueError(f"expected {' or '.join(DEVICES)}, such as cuda:1")
        network.to(device)
    except (RuntimeError, AssertionError, ValueError) as error:  # a PyTorch without CUDA asserts
        raise ValueError(f"--device {device}: {error}") from error


def _read_channels(option: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        red, green, blue = map(float, text.split(","))
    except ValueError as error:
        raise ValueError(f"{option} {text}: expected three numbers, as in 0.485,0.456,0.406") from error
    return red, green, blue
