"""Full single precision, so that verified, stored or compared results do not depend on a GPU's reduced precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 matrix products and convolutions in float32; restore PyTorch's switches afterwards.

    GPUs since Ampere multiply float32 numbers with 10 bits of mantissa (TF32) if PyTorch lets them, which it does by
    default in convolutions. On CPUs oneDNN may do the same, or use bfloat16. A logit then moves by about 1e-3 of its
    size, and a tile near a decision boundary changes its class.

    The switches belong to the process. A context inside another one changes nothing.
    """
    switches = _list_switches()
    before = [getattr(holder, name) for holder, name, _ in switches]
    try:
        for holder, name, exact in switches:
            setattr(holder, name, exact)
        yield
    finally:
        for (holder, name, _), value in zip(switches, before, strict=True):
            setattr(holder, name, value)


def _list_switches() -> list[tuple[Any, str, Any]]:
    """Return each switch of PyTorch: its object, its attribute, and its value for float32 arithmetic."""
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):  # before PyTorch 2.9
        return [(backends.cuda.matmul, "allow_tf32", False), (backends.cudnn, "allow_tf32", False)]
    holders = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    holders += [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
    return [(holder, "fp32_precision", "ieee") for holder in holders]
