"""The batch sizes that a network takes, as a program of `torch.export` states them."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.fx import GraphModule


class BatchSizes(NamedTuple):
    """The smallest and the largest batch that a network takes; `most` is None if there is no limit."""

    least: int
    most: int | None

    def __str__(self) -> str:
        """Return the sizes as words that follow "batches of"."""
        if self.least == self.most:
            return str(self.least)
        bounds = [f"at least {self.least}"] * (self.least > 1) + [f"at most {self.most}"] * (self.most is not None)
        return " and ".join(bounds) or "any size"


ANY = BatchSizes(1, None)


def read_batch_sizes(network: nn.Module) -> BatchSizes | None:
    """Return the batch sizes of an exported program, which may be in other modules, or None if nothing states them."""
    while not isinstance(network, GraphModule):
        children = list(network.children())
        if len(children) != 1:
            return None
        network = children[0]
    image = next((node.meta.get("val") for node in network.graph.nodes if node.op == "placeholder"), None)
    if not isinstance(image, Tensor) or not image.ndim:  # graphs of other tracers state no shapes
        return None
    size = image.shape[0]
    if isinstance(size, int):
        return BatchSizes(size, size)
    bounds = size.node.shape_env.bound_sympy(size.node.expr)
    most = int(bounds.upper) if bounds.upper.is_Integer else None  # infinity is no `Integer` of sympy
    return BatchSizes(max(1, int(bounds.lower)), most)
