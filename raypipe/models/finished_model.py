"""A finished model: an exported folder, a checkpoint, a PyTorch program, a backbone with weights, or any module."""

import hashlib
import io
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from raypipe.base.file_kinds import BEGINNING, describe_other_file
from raypipe.models.backbones.base import Channels
from raypipe.models.checkpoint import ModelCard, load_classifier
from raypipe.models.classifier import Model, build_classifier
from raypipe.models.foreign.huggingface import is_huggingface, open_huggingface
from raypipe.models.foreign.normalized import Normalized
from raypipe.models.foreign.onnx import open_onnx
from raypipe.models.foreign.robustbench import is_robustbench, open_robustbench
from raypipe.models.model_file import MODEL_FILE
from raypipe.models.state_files import find_extra, read_normalization, read_state

PROGRAM, SCRIPTS, ONNX, WEIGHTS = ".pt2", (".pt", ".pth", ".ts"), ".onnx", ".safetensors"


@dataclass(frozen=True, eq=False)
class FinishedModel:
    """A model to attack or evaluate.

    Parameters
    ----------
    network
        Module from images (n, 3, h, w), float32 in [0, 1], to logits (n, classes).
    name
        Name of the model, for people.
    form
        Name of the backbone, or kind of the file or module.
    labels
        Classes in the order of the logits; None if the model does not state them.
    size
        Height and width of the images in pixels; None if the model does not state it.
    content
        Hash of the model's content, 20 hexadecimal digits.
    card
        Card of a classifier of raypipe, which can be stored; None for other modules.
    differentiable
        True unless a trial has shown that no gradient reaches the images.
    """

    network: nn.Module
    name: str
    form: str
    labels: tuple[str, ...] | None
    size: int | None
    content: str
    card: ModelCard | None = None
    differentiable: bool = True


class Program(nn.Module):
    """A program of `torch.export` or TorchScript. Both refuse some operations that other modules allow.

    Parameters
    ----------
    graph
        Module of the program; it stays in evaluation mode.
    """

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def train(self, mode: bool = True) -> "Program":  # noqa: ARG002  there is only one mode
        """Change nothing."""
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images."""
        logits: Tensor = self.graph(images)
        return logits


def open_model(
    where: str,
    classes: Sequence[str],
    *,
    size: int | None = None,
    weights: str | None = None,
    mean: Channels | None = None,
    std: Channels | None = None,
) -> FinishedModel:
    """Open a model.

    Parameters
    ----------
    where
        Folder that `raypipe export` or transformers wrote, ``.safetensors`` checkpoint of raypipe, program written by
        `torch.export.save` (``.pt2``) or `torch.jit.save` (``.pt``, ``.pth``, ``.ts``), ``.onnx`` file, name of a model
        of RobustBench (``robustbench:NAME``), or name of a backbone as in an experiment. Programs run code: open only
        those that you trust.
    classes
        Classes of a backbone, in the order of its logits.
    size
        Height and width of a backbone's images in pixels.
    weights
        File of the backbone's whole state, ``.safetensors`` or a state_dict.
    mean, std
        Normalization inside a backbone; default: that of `weights`, or as in `raypipe.models.classifier.Model`. Before
        a program or an ONNX file it is added; default: none.

    Raises
    ------
    ValueError
        If the model cannot be opened; the message lists the accepted kinds.
    raypipe.models.weights.WeightsError
        If the weights cannot be read.
    """
    path = Path(where)
    if is_robustbench(where):
        network, name = open_robustbench(where, weights)
        model = FinishedModel(network, name, f"RobustBench model {name}", None, None, hash_content(network))
        return _normalize(model, mean, std)
    if not path.exists():
        return _build_backbone(where, tuple(classes), size, weights, mean, std)
    if weights:
        raise ValueError(f"{where}: is a file with its own weights; leave out --weights")
    if is_huggingface(path):
        found = open_huggingface(path, mean, std)
        content = hash_content(found.network)
        return FinishedModel(found.network, path.absolute().name, found.form, found.labels, found.size, content)
    if path.suffix == ONNX and path.is_file():
        network, form = open_onnx(path, size)
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:20]
        return _normalize(FinishedModel(network, path.absolute().name, form, None, None, content), mean, std)
    if path.is_dir() or path.suffix == WEIGHTS:
        if mean or std:
            raise ValueError(f"{where}: has its own normalization; leave out --mean and --std")
        return _open_file(where, path)
    return _normalize(_open_file(where, path), mean, std)


def _normalize(model: FinishedModel, mean: Channels | None, std: Channels | None) -> FinishedModel:
    """Return a model behind a normalization, if one is given."""
    if mean is None and std is None:
        return model
    red, green, blue = mean or (0.0, 0.0, 0.0)
    deviation = std or (1.0, 1.0, 1.0)
    network = Normalized(model.network, (red, green, blue), deviation)
    return replace(model, network=network, form=f"{model.form}, normalized", content=hash_content(network))


def _open_file(where: str, path: Path) -> FinishedModel:
    """Open a folder of `raypipe export`, a checkpoint of raypipe, or a program."""
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{where}: holds no {MODEL_FILE}; expected a folder that `raypipe export` wrote")
    data, name = file.read_bytes(), path.absolute().name
    key = hashlib.sha256(data).hexdigest()[:20]
    try:
        if file.suffix == WEIGHTS:
            classifier, card = load_classifier(data)
            return FinishedModel(classifier, name, card.backbone, card.labels, card.size, key, card)
        if file.suffix == PROGRAM:
            graph = torch.export.load(io.BytesIO(data)).module()
            return FinishedModel(Program(graph), name, "torch.export program", None, None, key)
        if file.suffix in SCRIPTS:
            return FinishedModel(Program(_load_script(data)), name, "TorchScript program", None, None, key)
    except Exception as error:  # readers of programs raise many kinds of errors
        raise ValueError(
            f"{where}: cannot be opened as a {_name_kind(file.suffix)}{_explain_unopened(data, error)}"
        ) from error
    raise ValueError(
        f"{where}: expected a folder that `raypipe export` or transformers wrote, or a "
        f"{', '.join((WEIGHTS, PROGRAM, *SCRIPTS, ONNX))} file"
    )


def _load_script(data: bytes) -> nn.Module:
    with warnings.catch_warnings():
        # Users of a TorchScript file need not hear that TorchScript is deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        script: nn.Module = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    for parameter in script.parameters():
        parameter.requires_grad_(False)  # copies of a parameter with gradients are no leaves and cannot be frozen
    return script


def _name_kind(suffix: str) -> str:
    return {WEIGHTS: "checkpoint of raypipe", PROGRAM: "program of torch.export"}.get(suffix, "TorchScript program")


def _explain_unopened(data: bytes, error: Exception) -> str:
    """Return why a file does not open as a model, and the remedy, for the end of a message."""
    if other := describe_other_file(data[:BEGINNING]):
        return f": {other}"
    weights = "for the bare weights of a backbone, give the backbone's name and the file as --weights"
    if _is_pickle(data):
        return (
            f": it was written by torch.save, which stores no program; {weights}, and for a whole model write one with "
            "torch.export.save"
        )
    return f" ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]}); {weights}"


def _is_pickle(data: bytes) -> bool:
    """Return True for a file of `torch.save`. A TorchScript file is such an archive with a file of constants."""
    try:
        names = {Path(name).name for name in zipfile.ZipFile(io.BytesIO(data)).namelist()}
    except zipfile.BadZipFile:
        return False
    return "data.pkl" in names and "constants.pkl" not in names


def _build_backbone(
    name: str,
    classes: tuple[str, ...],
    size: int | None,
    weights: str | None,
    mean: Channels | None,
    std: Channels | None,
) -> FinishedModel:
    given: dict[str, Any] = {field: value for field, value in (("mean", mean), ("std", std)) if value is not None}
    if weights and (normalization := read_normalization(weights)):
        given = {**dict(zip(("mean", "std"), normalization, strict=True)), **given}
    try:
        settings = Model(name=name, **given)
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        raise ValueError(f"{name}: there is no such file, and it is no backbone: {problems}") from error
    if weights is None:
        raise ValueError(f"{name}: a backbone without weights knows nothing; give a file of its state as --weights")
    classifier = build_classifier(settings, len(classes))
    own = classifier.network.state_dict()
    state = read_state(weights, own)
    # GoogLeNet's auxiliary heads are not used in evaluation mode, and files often leave them out.
    wrong = [key for key, tensor in own.items() if not key.startswith("aux") and not _fits(state.get(key), tensor)]
    if wrong:
        raise ValueError(
            f"{weights}: is no whole state of a {name} with {len(classes)} classes: {len(wrong)} of {len(own)} tensors "
            f"are missing or have another shape, first {wrong[0]!r}{_describe_difference(wrong[0], state, own)}"
        )
    if extra := find_extra(state, own):
        raise ValueError(
            f"{weights}: is the state of a larger network than a {name}: it has {len(extra)} more tensors in the same "
            f"modules, first {extra[0]!r}; name the backbone that it was saved from"
        )
    classifier.network.load_state_dict({**own, **{key: state[key] for key in own if key in state}})
    card = ModelCard(name, classes, size, *classifier.normalization, digest=settings.digest) if size else None
    return FinishedModel(classifier.eval(), name.replace(":", "_"), name, None, None, hash_content(classifier), card)


def _describe_difference(name: str, state: Mapping[str, Any], own: Mapping[str, Tensor]) -> str:
    """Return what a state has in place of a tensor of the network, for the end of a message."""
    found, expected = state.get(name), own[name]
    if isinstance(found, Tensor) and found.ndim and found.shape[1:] == expected.shape[1:]:
        return f", which has {len(found)} classes: name as many with --labels, or take another file"
    others = [other for other, value in state.items() if other not in own and _fits(value, expected)]
    return f"; {others[0]!r} has its shape: rename it, if it is meant" if found is None and others else ""


def wrap_module(network: nn.Module, name: str, classes: tuple[str, ...]) -> FinishedModel:
    """Return a module in memory as a model."""
    return FinishedModel(network, name, type(network).__name__, classes, None, hash_content(network))


def _fits(found: Tensor | None, expected: Tensor) -> bool:
    return found is not None and found.shape == expected.shape


def hash_content(network: nn.Module) -> str:
    """Return a hash of a network's state and of the descriptions that its modules give of themselves."""
    state = network.state_dict()
    plain = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor) and not tensor.is_quantized}
    digest = hashlib.sha256(save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in plain.items()}))
    for name in sorted(state.keys() - plain.keys()):  # packed weights of quantized layers, and their types
        buffer = io.BytesIO()
        torch.save(state[name], buffer)
        digest.update(name.encode() + buffer.getvalue())
    digest.update(repr(network).encode())
    return digest.hexdigest()[:20]
