"""The record of a contest: its environment, every row and every verdict, and its tables."""

import math
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks.attacks.contestants import BOUNDED, FAMILIES
from benchmarks.attacks.goals import Verdict
from benchmarks.attacks.optimality import global_optimality, local_optimalities
from benchmarks.attacks.peers import DISTRIBUTIONS
from benchmarks.attacks.rows import Row
from raypipe.base.norms import STORED_NORMS, StoredNorm

STAMP = "SYNTHETIC: synthetic tissue; no figure here applies to real images"
FORMAT = 1
"""Version of the record's format, raised when its fields change."""


@dataclass
class Record:
    """The results of a contest.

    Parameters
    ----------
    environment
        Versions, processor, threads, date and commit.
    rules
        Rules of the contest, and its data.
    victims
        Facts of each victim by name, from `benchmarks.attacks.victims.Subject.facts`.
    rows
        Rows, one for each contestant, set of tiles and victim.
    verdicts
        Verdicts, one for each goal and victim.
    optimality
        Optimality figures, from `optimalities`.
    """

    environment: dict[str, Any]
    rules: dict[str, Any]
    victims: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    optimality: list[dict[str, Any]] = field(default_factory=list)

    @property
    def synthetic(self) -> bool:
        """True if any tissue is synthetic."""
        return any(facts["synthetic"] for facts in self.victims.values())

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values; infinite and undefined values become null."""
        rows = [
            {
                **{
                    item.name: getattr(row, item.name)
                    for item in fields(row)
                    if item.name not in {"images", "eight_bit"}
                },
                "eight_bit": asdict(row.eight_bit) if row.eight_bit else None,
                "summary": _summary(row),
            }
            for row in self.rows
        ]
        content = {
            "format": FORMAT,
            "stamp": STAMP if self.synthetic else None,
            "environment": self.environment,
            "rules": self.rules,
            "victims": self.victims,
            "rows": rows,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "optimality": self.optimality,
        }
        finite: dict[str, Any] = _finite(content)
        return finite


def environment() -> dict[str, Any]:
    """Return the facts that the figures depend on besides the code."""
    names = ["raypipe", "torch", "torchvision", "numpy", *DISTRIBUTIONS.values()]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in names},
        "processor": _processor(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """Return the commit of the checkout, with a plus sign if files differ from it; None without a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def optimalities(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return AttackBench's optimality for each norm and set of tiles, of each contestant on each victim and overall.

    Slow contestants had the first tiles of the others, so all contestants can be compared on these tiles.

    Parameters
    ----------
    rows
        Rows of all victims.
    """
    made: list[dict[str, Any]] = []
    for norm in ("l2", "l0"):
        minimal = [row for row in rows if FAMILIES[row.attack] == norm and row.attack not in BOUNDED and not row.error]
        for tiles in sorted({row.tiles for row in minimal} - {1}, reverse=True):
            victims: dict[str, dict[str, list[float]]] = {}
            for row in sorted(minimal, key=lambda row: row.tiles):  # the row on the most tiles comes last and wins
                if row.tiles >= tiles:
                    victims.setdefault(row.victim, {})[f"{row.attack}: {_name(row)}"] = row.within_budget[:tiles]
            local = {victim: local_optimalities(found) for victim, found in victims.items()}
            if any(len(found) > 1 for found in local.values()):
                both = {"local": local, "global": global_optimality(list(local.values()))}
                made.append({"norm": norm, "tiles": tiles, **both})
    return made


def _name(row: Row) -> str:
    return f"{row.library} {row.label}"


def _summary(row: Row) -> dict[str, Any] | None:
    """Return the figures of the tables."""
    if row.error is not None or not row.milliseconds:
        return None
    typical = {norm: row.typical(norm) for norm in STORED_NORMS}
    return {
        "milliseconds": row.time,
        "over_floor": row.over_floor,
        "over_passes": row.over_passes,
        "asr": row.asr,
        "asr8": row.asr8,
        **{f"{norm}_mean": pair[0] if pair else None for norm, pair in typical.items()},
        **{f"{norm}_median": pair[1] if pair else None for norm, pair in typical.items()},
    }


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rows_table(rows: Sequence[Row], victim: str, attack: str, stamp: str | None) -> Table:
    """Return the table of the contestants of one family on one victim."""
    norm = FAMILIES[attack]
    table = Table(title=f"{attack} on {victim}" + (f"  {stamp}" if stamp else ""), title_justify="left")
    for column in ("contestant", "tiles"):
        table.add_column(column)
    for column in ("ms", "x floor", "x passes", "F", "B", "ASR", "ASR8"):
        table.add_column(column, justify="right")
    for column in _shown(norm):
        table.add_column(f"{_TITLES[column]} mean / median", justify="right")
    table.add_column("8-bit: ASR, L2, ms", justify="right")
    for row in rows:
        if row.victim == victim and row.attack == attack:
            table.add_row(*_cells(row, norm))
    return table


_TITLES: dict[StoredNorm, str] = {"l0": "L0", "l2": "L2", "linf": "Linf"}


def _shown(norm: StoredNorm) -> tuple[StoredNorm, ...]:
    return ("l0", "l2") if norm == "l0" else ("l2", "linf")


def _cells(row: Row, norm: StoredNorm) -> list[str]:
    name = _name(row)
    if row.error is not None:
        return [name, str(row.tiles), "failed"]
    more = "> " if row.cut_off else ""
    tiles = f"{row.tiles}, {row.cut_off} cut off" if row.cut_off else str(row.tiles)
    cells = [name, tiles, f"{more}{row.time:,.1f}", _times(row.over_floor), _times(row.over_passes)]
    cells += [f"{row.forwards:.1f}", f"{row.backwards:.1f}", f"{row.asr:.3f}", f"{row.asr8:.3f}"]
    for shown in _shown(norm):
        pair = row.typical(shown)
        cells.append(f"{pair[0]:,.4g} / {pair[1]:,.4g}" if pair else "-")
    done = row.eight_bit
    if done is None:
        return [*cells, ""]
    return [*cells, f"{done.success:.3f}, {_figure(done.l2_mean)}, {done.milliseconds:,.0f}"]


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def verdicts_table(verdicts: Sequence[Verdict], victim: str, stamp: str | None) -> Table:
    """Return the table of the goals on one victim."""
    table = Table(title=f"Goals on {victim}" + (f"  {stamp}" if stamp else ""), title_justify="left")
    for column in ("attack", "goal", "wanted", "got", "", "tiles", "note"):
        table.add_column(column)
    words: dict[bool | None, str] = {True: "met", False: "[red]missed[/red]", None: "open"}
    for verdict in verdicts:
        if verdict.victim == victim:
            got, tiles = _figure(verdict.got), str(verdict.tiles or "")
            cells = (verdict.attack, verdict.goal, verdict.wanted, got, words[verdict.met], tiles, verdict.note[:90])
            table.add_row(*cells)
    return table


def optimality_tables(optimality: Sequence[Mapping[str, Any]], budget: int, stamp: str | None) -> list[Table]:
    """Return one table for each norm and set of tiles, the best first."""
    tables = []
    for part in optimality:
        title = f"Optimality, {_TITLES[part['norm']]}, {part['tiles']} tiles, within {budget} passes a tile"
        table = Table(title=title + (f"  {stamp}" if stamp else ""), title_justify="left")
        table.add_column("contestant")
        for victim in part["local"]:
            table.add_column(victim, justify="right")
        table.add_column("global", justify="right")
        value: Callable[[str], float] = part["global"].__getitem__
        for name in sorted(part["global"], key=value, reverse=True):
            local = [f"{found[name]:.3f}" if name in found else "-" for found in part["local"].values()]
            table.add_row(name, *local, f"{value(name):.3f}")
        tables.append(table)
    return tables
