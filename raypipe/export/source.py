"""A classifier as plain PyTorch source: a sequence of operations, as `torch.export` records them.

The file needs torch and safetensors. It needs neither raypipe nor torchvision nor other packages that built the
network. It holds no pickle, and people can read it. `torch.export.save` would serve the same purpose, but other
versions of PyTorch may refuse its format, according to its own documentation. The operators called here are kept
compatible.
"""

import ast
import inspect
import runpy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind
from torch.fx import Graph

from raypipe.base.version import __version__
from raypipe.export.rendering import render
from raypipe.models.checkpoint import ModelCard
from raypipe.models.classifier import Classifier
from raypipe.models.transforms.bit_depth import BitDepth
from raypipe.models.transforms.gaussian_smoothing import GaussianSmoothing, SmoothedPrediction

IMPORTS = {
    "torch": "import torch",
    "device": "from torch import device",
    "inf": "from math import inf",
    "nan": "from math import nan",
}
"""Names that operations may refer to, with the import of each."""
TRACED_BATCH = 2
"""Number of tiles in the recorded pass. With one tile, `torch.export` would treat the batch size as a constant."""


class ExportError(RuntimeError):
    """A failure to write a classifier in a form; the message gives the reason."""


class TracedNetwork(nn.Module):
    """A classifier as a function of images alone, without an input transform that a graph cannot hold.

    Parameters
    ----------
    classifier
        Classifier in evaluation mode.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images."""
        logits: Tensor = self.classifier.classify(images)
        return logits


def trace(classifier: Classifier, card: ModelCard) -> ExportedProgram:
    """Record a classifier's operations for batches of any size.

    The smoothing of `raypipe.models.transforms.gaussian_smoothing` is not recorded, because its noise depends on a hash
    of the pixels.

    Raises
    ------
    ExportError
        If the classifier has an input transform that is no sequence of operations, or `torch.export` cannot trace its
        network.
    """
    match card.input_transform:
        case None | BitDepth():
            network: nn.Module = classifier
        case GaussianSmoothing():
            network = TracedNetwork(classifier)
        case other:
            raise ExportError(
                f"its input transform, {other.name}, searches for an image by gradient descent in every pass, and no "
                "sequence of operations does that"
            )
    images = torch.rand(TRACED_BATCH, 3, card.size, card.size, generator=torch.Generator().manual_seed(0))
    try:
        return export(network.eval(), (images,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # it runs foreign code, and raises many kinds of errors
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(f"torch.export cannot follow the network ({type(error).__name__}: {reason})") from error


def generate_source(program: ExportedProgram, card: ModelCard, title: str) -> tuple[str, dict[str, Tensor]]:
    """Return the text of a module that loads and runs a traced classifier.

    Parameters
    ----------
    program, card
        Program and card, from `trace`.
    title
        Name of the model in the module's first line.

    Returns
    -------
    str, dict of str to Tensor
        The source, and the tensors by name that it needs besides the classifier's own state.

    Raises
    ------
    ExportError
        If an operation refers to something that plain PyTorch does not have.
    """
    arguments = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    graph = Graph()
    outputs = graph.graph_copy(program.graph_module.graph, {})
    assert isinstance(outputs, tuple)  # noqa: S101  torch.export always records a tuple
    graph.output(outputs[0])
    for node in graph.find_nodes(op="placeholder"):
        if not node.users:
            graph.erase_node(node)
    weights = {
        node.name: str(arguments[node.name].target).removeprefix("classifier.")
        for node in graph.find_nodes(op="placeholder")
        if arguments[node.name].kind is not InputKind.USER_INPUT
    }
    operations = graph.python_code("self")
    used = {node.id for node in ast.walk(ast.parse(operations.src)) if isinstance(node, ast.Name)}
    needed = {"torch", *(used & operations.globals.keys())}
    if unknown := sorted(needed - IMPORTS.keys()):
        raise ExportError(f"its operations refer to {', '.join(unknown)}, which plain PyTorch does not have")
    constants = {
        name: program.constants[str(arguments[argument].target)].detach().clone().contiguous()
        for argument, name in weights.items()
        if str(arguments[argument].target) not in program.state_dict
    }
    smoothing = card.input_transform if isinstance(card.input_transform, GaussianSmoothing) else None
    imports = ["from pathlib import Path", *(line for name, line in IMPORTS.items() if name in needed)]
    if smoothing:
        imports += ["import hashlib", "from types import SimpleNamespace"]
    text = render(
        "model.py.j2",
        title=title,
        version=__version__,
        torch=torch.__version__,
        imports=sorted(imports, key=lambda line: (line.startswith("from"), line)),
        labels=tuple(card.labels),
        size=card.size,
        weights=weights,
        files=("model.safetensors", *(["constants.safetensors"] if constants else [])),
        smoothing=smoothing and smoothing.model_dump(exclude={"name"}),
        smoothing_source=inspect.getsource(SmoothedPrediction),
        operations=operations.src.strip(),
    )
    return text, constants


def load_source(folder: Path) -> nn.Module:
    """Load the model from `model.py` in a folder, without leaving files such as bytecode there."""
    model: nn.Module = runpy.run_path(str(folder / "model.py"))["load"](folder)
    return model
