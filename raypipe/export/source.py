"""A classifier as plain PyTorch source: a sequence of operations, as `torch.export` records them.

The file needs torch and safetensors. It needs neither raypipe nor torchvision nor other packages that built the
network. It holds no pickle, and people can read it. `torch.export.save` would serve the same purpose, but other
versions of PyTorch may refuse its format, according to its own documentation. The operators called here are kept
compatible.
"""

import inspect
import re
import runpy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind

from raypipe.base.version import __version__
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

FILE = '''"""{title}, as plain PyTorch.

Written by raypipe {version}, which is not needed to use it. Weights are read from `model.safetensors` beside this file;
the operations are those that torch.export recorded, normalization included, with torch {torch}.
"""

from __future__ import annotations

{imports}

from safetensors.torch import load_file
from torch import Tensor, nn

LABELS = {labels}
SIZE = {size}
"""Height and width of its images, in pixels."""
WEIGHTS = {weights}
"""Arguments of `classify`, and the tensors that they are."""


class Model(nn.Module):
    """Images (n, 3, SIZE, SIZE), float32 in [0, 1], in; logits (n, {classes}) out. Gradients flow through it.

    It is as in evaluation mode, always: to train it further, load its weights into the network that it was made from.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for argument, name in WEIGHTS.items():
            self.register_buffer(argument, weights[name]){front}

    def classify(self, images: Tensor) -> Tensor:
        return classify(*(getattr(self, argument) for argument in WEIGHTS), images)

    def forward(self, images: Tensor) -> Tensor:
        return {forward}


def load(folder: str | Path = Path(__file__).parent) -> Model:
    """The model, with the weights in a folder."""
    weights = {{}}
    for file in {files}:
        weights |= load_file(Path(folder) / file)
    return Model(weights).eval()

{sources}
def classify({arguments}):
{body}
'''


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
    match card.front:
        case None | BitDepth():
            network: nn.Module = classifier
        case GaussianSmoothing():
            network = TracedNetwork(classifier)
        case other:
            raise ExportError(
                f"its front, {other.name}, searches for an image by gradient descent in every pass: no sequence of "
                "operations does that"
            )
    images = torch.rand(TRACED_BATCH, 3, card.size, card.size, generator=torch.Generator().manual_seed(0))
    try:
        return export(network.eval(), (images,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # it runs foreign code, and raises many kinds of errors
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(f"torch.export cannot follow the network ({type(error).__name__}: {reason})") from error


def source_of(program: ExportedProgram, card: ModelCard, title: str) -> tuple[str, dict[str, Tensor]]:
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
    graph = program.graph_module.graph
    used = [node for node in graph.find_nodes(op="placeholder") if node.users]
    inputs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    weights = {
        node.name: str(inputs[node.name].target).removeprefix("classifier.")
        for node in used
        if inputs[node.name].kind is not InputKind.USER_INPUT
    }
    (images,) = (node.name for node in used if node.name not in weights)
    code = graph.python_code("self")
    body = code.src.partition(":\n")[2].rstrip()
    named = {name for name in code.globals if re.search(rf"\b{re.escape(name)}\b", body)}
    if unknown := sorted(named - IMPORTS.keys()):
        raise ExportError(f"its operations refer to {', '.join(unknown)}, which plain PyTorch does not have")
    (returned,) = program.graph_signature.user_outputs
    stored = program.state_dict
    extra = {name: program.constants[str(inputs[argument].target)].detach().clone().contiguous()
             for argument, name in weights.items() if str(inputs[argument].target) not in stored}  # fmt: skip
    smoothing = isinstance(card.front, GaussianSmoothing)
    needed = {"torch", *named}
    imports = ["from pathlib import Path", *(line for name, line in IMPORTS.items() if name in needed)]
    if smoothing:
        imports += ["import hashlib", "from types import SimpleNamespace"]
    text = FILE.format(
        title=title,
        version=__version__,
        torch=torch.__version__,
        imports="\n".join(sorted(imports, key=lambda line: (line.startswith("from"), line))),
        labels=repr(tuple(card.labels)),
        size=card.size,
        weights="{\n" + "".join(f"    {name!r}: {tensor!r},\n" for name, tensor in weights.items()) + "}",
        classes=len(card.labels),
        front=f"\n        self.front = SmoothedPrediction(SimpleNamespace(**{_plain(card)!r}))" if smoothing else "",
        forward="self.front(images, self.classify)" if smoothing else "self.classify(images)",
        files=repr(("model.safetensors", *(["constants.safetensors"] if extra else []))),
        sources=f"\n{inspect.getsource(SmoothedPrediction)}\n" if smoothing else "",
        arguments=", ".join([*weights, images]),
        body=body.replace(f"return ({returned},)", f"return {returned}"),
    )
    return text, extra


def _plain(card: ModelCard) -> dict[str, Any]:
    return card.front.model_dump(exclude={"name"}) if card.front else {}


def load_source(folder: Path) -> nn.Module:
    """Load the model from `model.py` in a folder, without leaving files such as bytecode there."""
    model: nn.Module = runpy.run_path(str(folder / "model.py"))["load"](folder)
    return model
