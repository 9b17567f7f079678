"""What work cost: counted where it is done, kept in the footer of the shard that it made, and summed from there.

A shard that an interrupted run left is counted by whoever goes on from it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from raypipe.storage.store import Store

_FOOTER = b"raypipe.cost"


@dataclass(frozen=True)
class Cost:
    """What work cost.

    Parameters
    ----------
    forwards, backwards
        Passes of a tile through a network.
    seconds
        Of all workers together, from decoded tiles to the network's answer; of a training: of its epochs.
    device
        Where, as ``cpu`` or ``cuda``; several are joined by a plus, and nothing is where there was no work.
    """

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    device: str = ""

    def __add__(self, other: "Cost") -> "Cost":
        """Both together."""
        devices = sorted({name for cost in (self, other) for name in cost.device.split("+") if name})
        return Cost(
            self.forwards + other.forwards,
            self.backwards + other.backwards,
            self.seconds + other.seconds,
            "+".join(devices),
        )

    def facts(self) -> dict[str, Any]:
        """As a manifest has it."""
        return asdict(self)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "Cost":
        """What an artifact cost, by its manifest."""
        return cls(**manifest["cost"])


FREE = Cost()


def with_cost(table: pa.Table, cost: Cost) -> pa.Table:
    """A table whose file tells what making it cost."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _FOOTER: json.dumps(cost.facts())})


def cost_of_shard(store: Store, relative: str) -> Cost:
    """What making a stored table cost.

    Raises
    ------
    ValueError
        If it was not stored `with_cost`.
    """
    metadata = store.read_schema(relative).metadata or {}
    if _FOOTER not in metadata:
        raise ValueError(f"{store.path(relative)} does not tell what it cost; remove it and run again")
    return Cost(**json.loads(metadata[_FOOTER]))
