"""Time left of a stage, from the time per tile of each attack on each model, as far as it is known."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from raypipe.plan.cells import Cell
from raypipe.progress.shards import ShardState
from raypipe.storage.store import Store

FORECAST_FILE = "forecast.json"

Kind = tuple[str, str]
"""A kind of work: the attack or other task, and its model."""


@dataclass
class Pace:
    """The work left of a stage, and the time that its tiles take.

    Parameters
    ----------
    left
        Number of tiles left, by kind of work.
    tiles, seconds
        Number of tiles done in this run or before, and seconds of all workers for them, by kind of work.
    forecast
        Forecast seconds per tile, by kind of work. A measured time of the same kind replaces it.
    """

    left: Counter[Kind] = field(default_factory=Counter)
    tiles: Counter[Kind] = field(default_factory=Counter)
    seconds: dict[Kind, float] = field(default_factory=dict)
    forecast: dict[Kind, float] = field(default_factory=dict)

    def learn(self, kind: Kind, tiles: float, seconds: float) -> None:
        """Take in a measured time."""
        self.tiles[kind] += tiles  # type: ignore[assignment]  # tiles of a shard in work are fractions
        self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds

    def seconds_left(self, shards: Iterable[tuple[Kind, ShardState]] = (), workers: int = 1) -> float | None:
        """Return the seconds until the last tile is done; None if no time is known.

        Parameters
        ----------
        shards
            Shards in work, with their kind of work. A shard that takes longer than its kind's known time shows that
            this time is too short: its own pace then replaces it.
        workers
            Number of shards that are worked on at once.
        """
        in_work: dict[Kind, list[ShardState]] = {}
        for kind, shard in shards:
            in_work.setdefault(kind, []).append(shard)
        total = longest = 0.0
        for kind, count in self.left.items():
            if count <= 0:
                continue
            own = in_work.get(kind, [])
            rate = _correct(self._rate(kind), own)
            if rate is None:
                return None
            total += rate * max(0.0, count - sum(shard.tiles for shard in own))
            longest = max([longest, *(rate * (shard.of - shard.tiles) for shard in own)])
        return max(total / workers, longest)

    def _rate(self, kind: Kind) -> float | None:
        """Return the seconds per tile: measured, forecast, measured with other models, or the mean of all work."""
        if self.tiles[kind]:
            return self.seconds[kind] / self.tiles[kind]
        if kind in self.forecast:
            return self.forecast[kind]
        return self._average(other for other in self.tiles if other[0] == kind[0]) or self._average(self.tiles)

    def _average(self, kinds: Iterable[Kind]) -> float | None:
        members = list(kinds)
        tiles = sum(self.tiles[kind] for kind in members)
        return sum(self.seconds[kind] for kind in members) / tiles if tiles else None


def _correct(rate: float | None, shards: Sequence[ShardState]) -> float | None:
    """Return the seconds per tile that shards in work show, if they take longer than a known rate, or if none is known.

    While none of their tiles is decided, they are expected to take as long again as they have taken.
    """
    size, seconds = sum(shard.of for shard in shards), sum(shard.seconds for shard in shards)
    if not seconds or (rate is not None and seconds <= rate * size):
        return rate
    decided = sum(shard.tiles for shard in shards) or size
    return max(rate or 0.0, seconds / decided)


def get_kind(cell: Cell) -> Kind:
    """Return the kind of a cell's work: an attack with its settings, or the stage, and the model."""
    attack = getattr(cell.spec, "attack", None)
    return f"{attack.model_dump_json()} {cell.spec.radii}" if attack else cell.stage, cell.model


def write_forecast(store: Store, run: str, seconds: Mapping[str, float]) -> None:
    """Write down the forecast seconds of a run's cells, by key, for the run itself."""
    store.write_json(f"runs/{run}/{FORECAST_FILE}", dict(seconds))


def read_forecast(store: Store, run: str) -> dict[str, float]:
    """Return the forecast seconds of a run's cells, by key; empty if nobody asked for a forecast."""
    path = f"runs/{run}/{FORECAST_FILE}"
    forecast: dict[str, float] = store.read_json(path) if store.exists(path) else {}
    return forecast
