"""A traced classifier as an ONNX file, and its logits for comparison."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from raypipe.export.source import ExportError

OPSET = 18
"""Opset version that PyTorch's exporter writes without a conversion."""
INPUT, OUTPUT = "images", "logits"
EXTRA = "pip install 'raypipe[onnx]'"


def write_onnx(program: ExportedProgram, path: Path) -> None:
    """Write a program as one ONNX file, from ``images`` (batch, 3, h, w), float32 in [0, 1], to ``logits``.

    Raises
    ------
    ExportError
        If the required packages are not installed, or an operation has no ONNX counterpart.
    """
    try:
        import onnx  # noqa: F401, PLC0415  an extra
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise ExportError(f"{error.name} is not installed: {EXTRA}") from error
    try:
        with _hide_messages():
            torch.onnx.export(
                program,
                (),
                path,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds of errors
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(f"PyTorch's exporter cannot write it ({type(error).__name__}: {reason})") from error


def run_onnx(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits (n, classes) of images (n, 3, h, w) in [0, 1], from ONNX Runtime on the CPU."""
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images})[0]
    return logits


@contextmanager
def _hide_messages() -> Iterator[None]:
    """Hide the exporter's messages about every optimization that it omits."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
