"""ONNX files: as a network with gradients where onnx2torch can convert the graph, otherwise without gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raypipe.base.file_kinds import BEGINNING, describe_other_file
from raypipe.models.foreign.black_box import BlackBox

EXTRA = "pip install 'raypipe[onnx]'"
SAME = 1e-3
"""Largest difference between the converted network and ONNX Runtime, as a share of the range of the logits."""
COMPARED = 2
OPSET = 17
"""Newest version of ONNX's operations that onnx2torch 1.5 knows. Later ones are written in terms of it."""
CONVERTED, RUNTIME = "ONNX file, converted", "ONNX file, run by ONNX Runtime"


def open_onnx(file: Path, size: int | None = None) -> tuple[nn.Module, str]:
    """Return the network of an ONNX file, and the name of its form.

    Without gradients only black-box attacks work. `raypipe.models.foreign.black_box.find_reason` then gives the reason.

    Parameters
    ----------
    file
        File with one input, images (n, 3, h, w), float32 in [0, 1], and an output (n, classes) of logits or
        probabilities. The first such output of several counts.
    size
        Height and width of images in pixels, at which both forms are compared; default: that of the file's input.

    Raises
    ------
    ValueError
        If the packages are not installed, or the file is damaged or takes other inputs.
    """
    try:
        import onnx  # noqa: PLC0415  an extra
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(f"{file}: is an ONNX file, which needs {error.name}: {EXTRA}") from error
    try:
        graph = onnx.load(str(file))
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # both raise many kinds of errors
        reason = str(error).strip().partition("\n")[0]
        with file.open("rb") as stream:
            other = describe_other_file(stream.read(BEGINNING))
        why = f": {other}" if other else f" ({type(error).__name__}: {reason})"
        raise ValueError(f"{file}: cannot be opened as an ONNX file{why}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
        raise ValueError(f"{file}: takes {found}; expected one input of float32 images (n, 3, h, w)")

    outputs = session.get_outputs()
    fitting = (place for place, each in enumerate(outputs) if each.type == "tensor(float)" and len(each.shape) == 2)
    place = next(fitting, 0)

    def run(images: NDArray[np.float32]) -> Any:
        return session.run([outputs[place].name], {inputs[0].name: images})[0]

    try:
        network = _convert(graph)
        network = _OneOutput(network, place) if len(outputs) > 1 else network
        _require_same(network, run, inputs[0].shape, size)
    except _ConversionError as error:
        return BlackBox(run, str(error), recovers=True), RUNTIME
    return network, CONVERTED


class _OneOutput(nn.Module):
    """A network of several outputs as a network that gives one of them."""

    def __init__(self, network: nn.Module, place: int) -> None:
        super().__init__()
        self.network = network
        self.place = place

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.network(images)[self.place]
        return output


class _ConversionError(Exception):
    """Reason why an ONNX file has no form with gradients."""


def _convert(graph: Any) -> nn.Module:
    try:
        from onnx2torch import convert  # noqa: PLC0415  an extra
    except ImportError as error:
        raise _ConversionError(f"onnx2torch is not installed ({EXTRA})") from error
    try:
        network: nn.Module = convert(_lower_opset(graph)).eval()
    except Exception as error:  # it raises many kinds of errors
        reason = str(error).strip().partition("\n")[0]
        raise _ConversionError(f"onnx2torch cannot convert it ({type(error).__name__}: {reason})") from error
    return network


def _lower_opset(graph: Any) -> Any:
    """Return a graph of opset 18 or later in the operations of opset 17, as far as image classifiers use them.

    Reductions get their constant axes as an attribute again. The attribute ``allowzero`` of Reshape matters to empty
    images only, and goes. The result is compared with ONNX Runtime, so that a difference is found.
    """
    from onnx import helper, numpy_helper  # noqa: PLC0415  an extra

    lowered = type(graph)()
    lowered.CopyFrom(graph)
    constants = {tensor.name: tensor for tensor in lowered.graph.initializer}
    for node in lowered.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in lowered.graph.node:
        kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
        if node.op_type.startswith("Reduce") and len(node.input) == 2 and node.input[1] in constants:
            axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
            if node.op_type != "ReduceSum":  # it has its axes as an input since opset 13
                kept.append(helper.make_attribute("axes", axes))
                del node.input[1]
        del node.attribute[:]
        node.attribute.extend(kept)
    for version in lowered.opset_import:
        if version.domain in ("", "ai.onnx"):
            version.version = min(version.version, OPSET)
    return lowered


def _require_same(network: nn.Module, run: Any, shape: list[Any], size: int | None) -> None:
    """Require that the converted network gives the logits of ONNX Runtime."""
    count, channels, height, width = (each if isinstance(each, int) else None for each in shape)
    images = torch.rand(
        count or COMPARED, channels or 3, height or size or 64, width or size or 64,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    try:
        expected = np.asarray(run(images.numpy()))
        with torch.no_grad():
            found = network(images).numpy()
    except Exception as error:
        raise _ConversionError(f"the network that onnx2torch makes of it fails ({type(error).__name__})") from error
    scale = max(1e-6, float(np.ptp(expected)))
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=SAME * scale):
        raise _ConversionError("the network that onnx2torch makes of it gives other logits")
