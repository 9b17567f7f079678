"""Time left of a stage, from the time per tile of each attack on each model, as far as it is known."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from raypipe.plan.cells import Cell
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

    def seconds_left(self, in_work: Mapping[Kind, float] | None = None) -> float | None:
        """Return the seconds that one worker would need for the tiles left; None if no time is known.

        Parameters
        ----------
        in_work
            Number of tiles decided in shards that are not finished, by kind of work.
        """
        decided = in_work or {}
        left = {kind: max(0.0, count - decided.get(kind, 0.0)) for kind, count in self.left.items() if count > 0}
        rates = {kind: self._rate(kind) for kind in left}
        if any(rate is None for rate in rates.values()):
            return None
        return sum(count * (rates[kind] or 0.0) for kind, count in left.items())

    def _rate(self, kind: Kind) -> float | None:
        """Return the seconds per tile: measured, forecast, measured with other models, or the mean of all work."""
        if self.tiles[kind]:
            return self.seconds[kind] / self.tiles[kind]
        if kind in self.forecast:
            return self.forecast[kind]
        return self._mean(other for other in self.tiles if other[0] == kind[0]) or self._mean(self.tiles)

    def _mean(self, kinds: Iterable[Kind]) -> float | None:
        members = list(kinds)
        tiles = sum(self.tiles[kind] for kind in members)
        return sum(self.seconds[kind] for kind in members) / tiles if tiles else None


def kind_of(cell: Cell) -> Kind:
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
