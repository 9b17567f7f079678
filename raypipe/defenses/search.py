"""Search of a defense's settings: the space of values to try, and the candidates drawn from it at random."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from raypipe.base.settings import Ratio, Settings

FIXED = ("name", "norm", "search", "seconds")
"""Settings that no search changes."""
DRAWS = 50
"""Number of draws per sample after which a space counts as exhausted."""


class Range(Settings):
    """Range of values to try.

    Parameters
    ----------
    low, high
        Ends of the range. Whole numbers are drawn for settings that are whole numbers.
    log
        True to draw the logarithm uniformly, for settings such as the learning rate, whose order of magnitude is
        unknown.
    """

    low: Ratio
    high: Ratio
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"expected low < high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low:g}: expected a positive number if log is true")
        return self

    def draw(self, random: np.random.Generator) -> float:
        """Return a random value of the range."""
        if not self.log:
            return float(random.uniform(self.low, self.high))
        return math.exp(random.uniform(math.log(self.low), math.log(self.high)))


def _read_dimension(value: Any) -> Any:
    if isinstance(value, list | tuple) and not value:
        raise ValueError("expected at least one value to try")
    return Range.model_validate(value) if isinstance(value, Mapping) else value


Dimension = Annotated[Range | tuple[Any, ...], BeforeValidator(_read_dimension)]
"""Values to try: a list of choices, or ``{low: ..., high: ..., log: true}``."""


class SettingsSearch(Settings):
    """Search of the settings of a defense.

    Every candidate is a set of values drawn from `space`. Its model is rated on held-out training groups, by
    robust accuracy under the evaluation's bounded attack at the radius of the sanity checks. Test tiles are never used.
    The best candidate is hardened into the model under test.

    Parameters
    ----------
    space
        Values to try, by the name of the setting: a list of choices, or ``{low: 0.0001, high: 0.01, log: true}``.
    samples
        Number of candidates. A space with fewer combinations has fewer.
    searcher
        ``random`` draws all candidates at the beginning. ``tpe`` draws the first round at random, and each later round
        near the best candidates so far (tree-structured Parzen estimator, Bergstra et al., 2011, by Optuna).
    per_round
        Number of candidates that ``tpe`` draws at a time. With more, more are trained beside each other; with fewer,
        each round knows more results.
    scheduler
        ``asha`` stops candidates early that are worse than others after the same number of epochs (Li et al., 2018,
        arXiv:1810.05934). ``none`` trains every candidate to its last epoch.
    grace_epochs
        Number of epochs before ``asha`` may stop a candidate. It decides there, and again whenever the number of epochs
        has grown by the factor `reduction`.
    reduction
        Factor of ``asha``: about one of `reduction` candidates continues.
    tiles
        Number of held-out tiles that rate a candidate, balanced by class. Default: all.
    seed
        Seed of the draws. It is the same for all seeds of the trainings, so these try the same candidates.
    """

    space: Annotated[dict[str, Dimension], Field(min_length=1)]
    samples: int = Field(8, ge=1)
    # Left out of content keys at their defaults, so that earlier searches keep their keys.
    searcher: Literal["random", "tpe"] = Field("random", exclude_if=lambda name: name == "random")
    per_round: int = Field(4, ge=2, exclude_if=lambda count: count == 4)
    scheduler: Literal["asha", "none"] = "asha"
    grace_epochs: int = Field(1, ge=1)
    reduction: float = Field(3, gt=1)
    tiles: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)

    def __hash__(self) -> int:
        """Return the hash of the settings, because a mapping has none."""
        return hash(self.model_dump_json())

    def draw(self, defense: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the values of each candidate, all different from each other.

        Parameters
        ----------
        defense
            Settings of the defense as written, whose types the drawn values take.
        """
        random = np.random.default_rng(self.seed)
        found: list[dict[str, Any]] = []
        for _ in range(DRAWS * self.samples):
            values = {name: self._draw_one(name, random, defense[name]) for name in sorted(self.space)}
            if values not in found:
                found.append(values)
            if len(found) == self.samples:
                break
        return found

    def _draw_one(self, name: str, random: np.random.Generator, written: Any) -> Any:
        dimension = self.space[name]
        if not isinstance(dimension, Range):
            return dimension[int(random.integers(len(dimension)))]
        value = dimension.draw(random)
        return round(value) if isinstance(written, int) else value

    def extremes(self) -> Iterator[tuple[str, Any]]:
        """Yield each choice and both ends of each range with the name of its setting, for validation."""
        for name, dimension in self.space.items():
            values = (dimension.low, dimension.high) if isinstance(dimension, Range) else dimension
            yield from ((name, value) for value in values)
