"""The files that a classifier is exported as, each compared with the classifier."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.export import ExportedProgram

from raypipe.evaluation.predict import predict
from raypipe.export.onnx_file import OPSET, run_onnx, write_onnx
from raypipe.export.source import ExportError, generate_source, load_source, trace
from raypipe.models.checkpoint import ModelCard
from raypipe.models.classifier import Classifier
from raypipe.models.transforms.gaussian_smoothing import GaussianSmoothing

SOURCE, CONSTANTS, ONNX = "model.py", "constants.safetensors", "model.onnx"
TOLERANCE = 1e-3
"""Largest difference between logits, as a share of their range. Other kernels and batch sizes round differently."""


@dataclass(frozen=True)
class Form:
    """A form of a classifier, or the reason why it does not exist.

    Parameters
    ----------
    file
        Name of the file.
    what
        Description of the form, for people.
    difference
        Largest difference of a logit on the compared tiles, as a share of the logits' range; None if there is no file.
    reason
        Reason why there is no file; None if there is one.
    """

    file: str
    what: str
    difference: float | None = None
    reason: str | None = None


def write_forms(
    classifier: Classifier, card: ModelCard, images: NDArray[np.uint8], folder: Path, title: str
) -> tuple[Form, ...]:
    """Write a classifier as source and as ONNX beside its weights, where that is possible.

    Parameters
    ----------
    classifier, card
        Classifier and card, from `raypipe.models.artifacts.load_model`.
    images
        Tiles (n, h, w, 3), uint8, on which each form is compared with the classifier.
    folder
        Folder that already holds the weights.
    title
        Name of the model in the source's first line.
    """
    expected = predict(classifier, images, len(images), torch.device("cpu"))
    inputs = (images.transpose(0, 3, 1, 2) / 255).astype(np.float32)

    def write_source(program: ExportedProgram) -> NDArray[np.float32]:
        text, constants = generate_source(program, card, title)
        (folder / SOURCE).write_text(text, encoding="utf-8")
        if constants:
            save_file(constants, folder / CONSTANTS)
        with torch.no_grad():
            logits: NDArray[np.float32] = load_source(folder)(torch.from_numpy(inputs)).numpy()
        return logits

    def write_graph(program: ExportedProgram) -> NDArray[np.float32]:
        if isinstance(card.input_transform, GaussianSmoothing):
            raise ExportError("the noise that it averages over is drawn from a hash of each tile's pixels")
        write_onnx(program, folder / ONNX)
        return run_onnx(folder / ONNX, inputs)

    forms = {
        SOURCE: ("plain PyTorch source, which loads the weights", write_source),
        ONNX: (f"ONNX, opset {OPSET}, batches of any size, weights inside", write_graph),
    }
    try:
        program = trace(classifier, card)
    except ExportError as error:
        return tuple(Form(file, what, reason=str(error)) for file, (what, _) in forms.items())
    return tuple(_write_form(folder, file, what, program, write, expected) for file, (what, write) in forms.items())


def _write_form(
    folder: Path,
    file: str,
    what: str,
    program: ExportedProgram,
    write: Callable[[ExportedProgram], NDArray[np.float32]],
    expected: NDArray[np.float32],
) -> Form:
    try:
        logits = write(program)
        # If a network gives every tile the same logit, the range is 0 and cannot be the divisor.
        difference = float(np.abs(logits - expected).max() / (np.ptp(expected) or 1.0))
        # This form of the condition also rejects a difference that is NaN.
        if not difference <= TOLERANCE:
            raise ExportError(
                f"what was written gives other logits than the model: they differ by {difference:.2g} of their range, "
                f"{TOLERANCE:g} allowed"
            )
    except ExportError as error:
        for name in (file, *([CONSTANTS] if file == SOURCE else [])):
            (folder / name).unlink(missing_ok=True)
        return Form(file, what, reason=str(error))
    return Form(file, what, difference)
