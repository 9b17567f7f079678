"""A simulation of how often 95 % intervals hold the true value, and how often a test rejects a true null hypothesis.

    python -m benchmarks.coverage --out benchmarks/results/coverage.json

Tiles come in groups of similar tiles. In the beta-binomial model, the chance of a correct tile within a group is drawn
from a beta distribution. In the copies model, each tile copies its group's one answer with some probability. Both have
the stated intraclass correlation. For each case the table gives the share of simulated data sets whose interval holds
the true value, and the mean width, beside those of the percentile bootstrap over groups. The exit status is 1 if an
interval holds the true value in fewer than 93 % of a case's data sets, or a test rejects a true null hypothesis in
clearly more than 5 %.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.special import bdtr

from benchmarks.pipeline.ours import machine
from raypipe.evaluation.statistics.comparison import combine_bounds, compare_paired
from raypipe.evaluation.statistics.permutation import run_sign_flip_test
from raypipe.evaluation.statistics.shares import share_bounds

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 0.995, 1.0)
GROUPS = (8, 10, 20, 40, 100)
CORRELATIONS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
SIZES: dict[str, tuple[int, ...]] = {"1": (1,), "2": (2,), "6": (6,), "1 to 12": (1, 2, 3, 6, 12, 4)}
"""Sizes of the groups, repeated until every group has one."""
ONLY_ONE_RIGHT = ((0.0, 0.0), (0.01, 0.01), (0.05, 0.05), (0.1, 0.0), (0.1, 0.02), (0.2, 0.2), (0.3, 0.05),
                  (0.45, 0.45), (0.9, 0.02), (1.0, 0.0))  # fmt: skip
"""Shares of tiles that only the first of two paired models classifies correctly, and that only the second does."""
TWO_SHARES = ((0.5, 0.5), (0.8, 0.6), (0.9, 0.9), (0.97, 0.5), (0.99, 0.9), (0.99, 0.99), (1.0, 1.0), (1.0, 0.0))
MOST_COPIED = 20
"""Largest number of groups in the cases in which tiles copy their group's answer."""
LEAST = 0.93
LEVEL = 0.05
REPLICATES = 400
"""Number of draws of the bootstrap, which is applied to the first `BOOTSTRAPPED` data sets of a case."""
BOOTSTRAPPED = 400

Counts = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[float, ...], float, NDArray[np.intp], int], Counts]


class Row(NamedTuple):
    """A simulated case.

    Parameters
    ----------
    figure
        Kind of figure: ``share``, ``paired``, ``unpaired`` or ``test``.
    model, groups, sizes, correlation
        Model of the tiles within a group, number and sizes of the groups, and intraclass correlation.
    truth
        True share, or the two true shares of a difference.
    coverage, width
        Share of data sets whose interval holds the true value, and mean width. For a test: share of data sets in which
        it rejects the null hypothesis, which is true, and no width.
    other_coverage, other_width
        Figures of the percentile bootstrap; for a test, of McNemar's test, which treats tiles as independent. None if
        not computed.
    """

    figure: str
    model: str
    groups: int
    sizes: str
    correlation: float
    truth: tuple[float, ...]
    coverage: float
    width: float | None = None
    other_coverage: float | None = None
    other_width: float | None = None

    @property
    def holds(self) -> bool:
        """True if the coverage is high enough, or the rejections are few enough."""
        if self.figure == "test":
            return self.coverage <= LEVEL + 0.02
        return self.coverage >= LEAST


def draw_beta(
    rng: np.random.Generator, shares: tuple[float, ...], correlation: float, sizes: NDArray[np.intp], count: int
) -> Counts:
    """Draw the numbers of tiles of each kind in each group, (kinds, groups, count), as Dirichlet-multinomial."""
    chances = np.broadcast_to(np.array(shares), (count, len(sizes), len(shares)))
    if correlation > 0:
        drawn = rng.standard_gamma(chances * (1 - correlation) / correlation)
        lost = drawn.sum(axis=-1) == 0  # all values underflowed, so one kind gets the whole group
        drawn[lost] = rng.multinomial(1, shares, int(lost.sum()))
        chances = drawn / drawn.sum(axis=-1, keepdims=True)
    return np.moveaxis(rng.multinomial(sizes, chances), (0, 1, 2), (2, 1, 0)).astype(np.float64)


def draw_copies(
    rng: np.random.Generator, shares: tuple[float, ...], correlation: float, sizes: NDArray[np.intp], count: int
) -> Counts:
    """Draw counts of tiles by kind, (kinds, groups, count); a tile copies its group with chance sqrt(correlation)."""
    shape = (count, len(sizes))
    copies = rng.binomial(sizes, np.sqrt(correlation), shape)
    own = rng.multinomial(sizes - copies, np.broadcast_to(np.array(shares), (*shape, len(shares))))
    common = rng.multinomial(1, shares, shape)
    return np.moveaxis(own + common * copies[..., None], (0, 1, 2), (2, 1, 0)).astype(np.float64)


MODELS: dict[str, Draw] = {"beta-binomial": draw_beta, "copies": draw_copies}


def simulate_shares(count: int, shares: Iterable[float] = SHARES, groups: Iterable[int] = GROUPS) -> Iterator[Row]:
    """Simulate intervals of shares on `count` data sets per case."""
    cases = product(MODELS, groups, SIZES, CORRELATIONS, shares)
    for number, (model, many, sizes, correlation, share) in enumerate(cases):
        if (sizes == "1" and (correlation > 0 or model == "copies")) or (model == "copies" and many > MOST_COPIED):
            continue  # skip groups of one tile, and many groups, where only the correlation matters
        rng, tiles = np.random.default_rng([1, number]), _sizes(sizes, many)
        right = MODELS[model](rng, (share, 1 - share), correlation, tiles, count)[0]
        low, high = share_bounds(right, tiles[:, None].astype(np.float64))
        bootstrapped = _bootstrap(rng, right[:, :BOOTSTRAPPED], tiles)
        yield Row("share", model, many, sizes, correlation, (share,), *_held(low, high, share),
                  *_held(*bootstrapped, share))  # fmt: skip


def simulate_paired(
    count: int, pairs: Iterable[tuple[float, float]] = ONLY_ONE_RIGHT, groups: Iterable[int] = (8, 20, 40)
) -> Iterator[Row]:
    """Simulate intervals of paired differences."""
    for number, (many, sizes, correlation, pair) in enumerate(product(groups, ("1", "6"), CORRELATIONS[::2], pairs)):
        if sizes == "1" and correlation > 0:
            continue
        rng, tiles = np.random.default_rng([2, number]), _sizes(sizes, many)
        first, second, _ = draw_beta(rng, (*pair, 1 - sum(pair)), correlation, tiles, count)
        _, low, high = compare_paired(first, second, tiles[:, None].astype(np.float64))
        yield Row("paired", "beta-binomial", many, sizes, correlation, pair, *_held(low, high, pair[0] - pair[1]))


def simulate_unpaired(count: int, pairs: Iterable[tuple[float, float]] = TWO_SHARES) -> Iterator[Row]:
    """Simulate intervals of differences between two sets of as many groups, of which one has smaller groups."""
    for number, (many, correlation, pair) in enumerate(product((8, 20, 40), CORRELATIONS[::2], pairs)):
        rng, shares = np.random.default_rng([3, number]), []
        for sizes, share in zip(("6", "2"), pair, strict=True):
            tiles = _sizes(sizes, many)
            right = draw_beta(rng, (share, 1 - share), correlation, tiles, count)[0]
            bounds = share_bounds(right, tiles[:, None].astype(np.float64))
            shares.append(np.array([right.sum(axis=0) / tiles.sum(), *bounds]))
        _, low, high = combine_bounds(*shares, np.zeros(count))
        yield Row("unpaired", "beta-binomial", many, "6, 2", correlation, pair, *_held(low, high, pair[0] - pair[1]))


def simulate_tests(count: int, groups: Iterable[int] = (8, 20, 40)) -> Iterator[Row]:
    """Simulate how often the sign-flip test rejects a true null hypothesis, beside McNemar's test of single tiles."""
    for number, (many, correlation, only) in enumerate(product(groups, (0.0, 0.5, 0.9), (0.05, 0.2))):
        tiles = _sizes("6", many)
        rng = np.random.default_rng([4, number])
        first, second, _ = draw_beta(rng, (only, only, 1 - 2 * only), correlation, tiles, count)
        rejected = np.mean([run_sign_flip_test(case.astype(np.intp)) <= LEVEL for case in (first - second).T])
        least, both = np.minimum(first.sum(axis=0), second.sum(axis=0)), (first + second).sum(axis=0)
        mcnemar = float((2 * bdtr(least, both.astype(np.intp), 0.5) <= LEVEL).mean())
        yield Row("test", "beta-binomial", many, "6", correlation, (only, only), float(rejected), None, mcnemar)


def _sizes(name: str, groups: int) -> NDArray[np.intp]:
    return np.resize(np.array(SIZES[name], dtype=np.intp), groups)


def _held(low: NDArray[np.float64], high: NDArray[np.float64], truth: float) -> tuple[float, float]:
    """Return the share of intervals that hold the true value, and their mean width."""
    return float(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean()), float((high - low).mean())


def _bootstrap(rng: np.random.Generator, right: Counts, tiles: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return percentile bounds, (2, count), of shares over resampled groups."""
    weights = rng.multinomial(len(tiles), np.full(len(tiles), 1 / len(tiles)), REPLICATES).astype(np.float64)
    return np.quantile((weights @ right) / (weights @ tiles)[:, None], (0.025, 0.975), axis=0)


def summarize(rows: list[Row]) -> Table:
    """Return the least and mean coverage and the mean width of the cases, by figure and by share or difference."""
    table = Table("figure", "truth", "cases", "coverage:\nleast", "mean", "width:\nmean", "other's\ncoverage:\nleast",
                  "mean", "width:\nmean")  # fmt: skip
    table.title = "95 % intervals beside the percentile bootstrap; tests at 5 % beside McNemar's: most rejections, mean"
    kinds: dict[tuple[str, tuple[float, ...]], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row.figure, row.truth), []).append(row)
    for (figure, truth), cases in kinds.items():
        worst = max if figure == "test" else min
        own, other = _figures(worst, [each.coverage for each in cases]), [each.other_coverage for each in cases]
        widths = [each.width for each in cases], [each.other_width for each in cases]
        table.add_row(figure, ", ".join(f"{share:g}" for share in truth), str(len(cases)), *own, _mean(widths[0]),
                      *_figures(worst, other), _mean(widths[1]))  # fmt: skip
    return table


def _figures(worst: Callable[[list[float]], float], values: list[float | None] | list[float]) -> tuple[str, str]:
    known = [value for value in values if value is not None]
    return (f"{worst(known):.3f}", _mean(values)) if known else ("-", "-")


def _mean(values: list[float | None] | list[float]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.3f}" if known else "-"


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def main() -> int:
    """Simulate, print and write the figures; return 1 if a case fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--replicates", type=int, default=2000, help="data sets of each case; with few, chance alone lets cases fail"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    count, console = options.replicates, Console()
    simulations = (simulate_shares, simulate_paired, simulate_unpaired, simulate_tests)
    rows = [row for simulate in simulations for row in simulate(count)]
    console.print(summarize(rows))
    failed = [row for row in rows if not row.holds]
    for row in failed:
        console.print(f"does not hold: {row}", highlight=False, soft_wrap=True)
    console.print(f"{len(rows) - len(failed)} of {len(rows)} cases hold, {count} data sets each", highlight=False)
    if options.out:
        columns = {name: [_rounded(getattr(row, name)) for row in rows] for name in Row._fields}
        record: dict[str, Any] = {"replicates": count, "machine": machine(), "cases": columns}
        options.out.write_text(json.dumps(record) + "\n")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
