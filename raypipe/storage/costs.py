"""Cost of work: counted where the work is done, stored in the footer of its shard, and summed from there.

If a run is interrupted, the run that resumes it counts the shards that exist already.
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
    """Cost of a unit of work.

    Parameters
    ----------
    forwards, backwards
        Number of forward and backward passes of tiles through a network.
    seconds
        Time of all workers together, from decoded tiles to the network's output. For a training, the time of its
        epochs.
    device
        Device, such as ``cpu`` or ``cuda``. Several are joined by a plus. It is empty if there was no work.
    """

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    device: str = ""

    def __add__(self, other: "Cost") -> "Cost":
        """Return the sum of both costs."""
        devices = sorted({name for cost in (self, other) for name in cost.device.split("+") if name})
        return Cost(
            self.forwards + other.forwards,
            self.backwards + other.backwards,
            self.seconds + other.seconds,
            "+".join(devices),
        )

    def facts(self) -> dict[str, Any]:
        """Return the cost in the form of a manifest."""
        return asdict(self)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "Cost":
        """Return the cost of an artifact from its manifest."""
        return cls(**manifest["cost"])


FREE = Cost()


def add_cost(table: pa.Table, cost: Cost) -> pa.Table:
    """Return the table with its cost in the metadata, which its file will store."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _FOOTER: json.dumps(cost.facts())})


def read_cost(store: Store, relative: str) -> Cost:
    """Return the cost of a stored table.

    Raises
    ------
    ValueError
        If it was not stored `add_cost`.
    """
    metadata = store.read_schema(relative).metadata or {}
    if _FOOTER not in metadata:
        raise ValueError(f"{store.path(relative)} has no record of its cost; remove it and run again")
    return Cost(**json.loads(metadata[_FOOTER]))
