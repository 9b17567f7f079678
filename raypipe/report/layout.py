"""Shared parts of a run's tables: look-up of rows, and formats of figures, intervals and threat models."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from raypipe.base.threat import write_bound
from raypipe.evaluation.protocols import ITSELF, CheckAttack
from raypipe.evaluation.results.outcomes import CLEAN_ATTACKED, WORST_CASE
from raypipe.evaluation.results.result import TABLES, RunResult
from raypipe.evaluation.results.run import GIVEN
from raypipe.report.sheet import Cell

Row = dict[str, Any]


@dataclass(frozen=True)
class Book:
    """The rows of a run's tables.

    Parameters
    ----------
    records, curves, differences, checks, certified, costs, trainings, candidates
        Rows of the tables of `raypipe.evaluation.results.result.RunResult`.
    corruptions, external, universal, queries, overview
        Rows of the tables of kinds of threats, which a run may not have.
    """

    records: list[Row]
    curves: list[Row]
    differences: list[Row]
    checks: list[Row]
    certified: list[Row]
    costs: list[Row]
    trainings: list[Row]
    candidates: list[Row]
    corruptions: list[Row] = field(default_factory=list)
    external: list[Row] = field(default_factory=list)
    universal: list[Row] = field(default_factory=list)
    queries: list[Row] = field(default_factory=list)
    overview: list[Row] = field(default_factory=list)

    @classmethod
    def from_result(cls, result: RunResult) -> "Book":
        """Return the rows of a result."""
        return cls(**{table: getattr(result, table).to_pylist() for table in TABLES})

    @cached_property
    def subjects(self) -> dict[str, Row]:
        """The clean record of every model under test on the full test set, by the model's id."""
        return {row["subject"]: row for row in self.records if row["protocol"] == "clean"}

    def find_clean(self, subject: str) -> Row:
        """Return the clean record of a model's attacked tiles, or of the full test set if it was not attacked."""
        return next(self.find_records(subject, protocol=CLEAN_ATTACKED), self.subjects[subject])

    @cached_property
    def stamps(self) -> list[str]:
        """The warnings that must stand next to the figures."""
        return sorted({stamp for row in self.records for stamp in row["stamps"]})

    @cached_property
    def _index(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {name: [] for name in self.subjects}
        for row in self.records:
            found[row["subject"]].append(row)
        return found

    def find_records(self, subject: str, **wanted: Any) -> Iterator[Row]:
        """Yield the records of a model that have the given values."""
        for row in self._index[subject]:
            if all(row[name] == value for name, value in wanted.items()):
                yield row

    def find_undefended(self, subject: str) -> str:
        """Return the id of the undefended model that a model was hardened from, or its own id."""
        own = self.subjects[subject]
        kin = ("model", "split", "seed")
        return next(
            name
            for name, row in self.subjects.items()
            if row["defense"] is None and all(row[each] == own[each] for each in kin)
        )

    def list_families(self) -> dict[str, list[str]]:
        """Return each undefended model with the models hardened from it, itself included, by its id."""
        found: dict[str, list[str]] = {}
        for subject in self.subjects:
            found.setdefault(self.find_undefended(subject), []).append(subject)
        return found

    def describe_defense(self, subject: str) -> str:
        """Return the defense of a model and the attack it was hardened with, which distinguish it in its family."""
        row = self.subjects[subject]
        unhardened = "given model" if row["split"] == GIVEN else "undefended"
        return ", ".join(filter(None, (row["defense"], row["hardened_on"]))) or unhardened

    def find_white_box(self, subject: str, attack: str | None) -> Row | None:
        """Return the record of a model under an attack on the model itself; None if there is none."""
        return self._white_box.get((subject, attack))

    @cached_property
    def _white_box(self) -> dict[tuple[str, str | None], Row]:
        found: dict[tuple[str, str | None], Row] = {}
        for row in sorted((row for row in self.records if row["protocol"] in ITSELF), key=_order_of_protocol):
            found.setdefault((row["subject"], row["attack"]), row)
        return found

    def find_worst_cases(self, subject: str) -> dict[str, Row]:
        """Return the worst-case records of a model, by the bound of the perturbation."""
        return {describe_threat(row): row for row in self.find_records(subject, protocol=WORST_CASE)}

    @cached_property
    def headline(self) -> str | None:
        """The threat model of the worst case that is shown where only one fits; None if no model was attacked.

        It is the ball in which the sanity checks judge the attacks, if there is a worst case for it, or else the
        smallest ball. Perturbations of any size fool nearly every model, so their worst case is shown only if there is
        no ball.
        """
        balls = [row for row in self.records if row["protocol"] == WORST_CASE]
        judged = {(row["norm"], row["eps"]) for row in self.records if row["attack"] == CheckAttack.REFERENCE}

        def rank(row: Row) -> tuple[bool, bool, float]:
            return row["eps"] is None, (row["norm"], row["eps"]) not in judged, row["eps"] or 0.0

        shown = sorted(balls, key=rank)[:1]
        return describe_threat(shown[0]) if shown else None

    def find_headline_case(self, subject: str) -> Row | None:
        """Return a model's record in the worst case of `headline`; None if there is none."""
        return self.find_worst_cases(subject).get(self.headline or "")


def _order_of_protocol(row: Row) -> int:
    return ITSELF.index(row["protocol"])


def format_percent(value: float | None) -> str:
    """Return a share in percent, or a dash where it is undefined."""
    return "-" if value is None else f"{100 * value:.1f}"


def format_with_interval(row: Mapping[str, Any] | None, name: str = "accuracy") -> str:
    """Return a share of a record with its 95 % interval, in percent: ``86.7 [81.9, 90.3]``."""
    if row is None or row[name] is None:
        return "-"
    if row[f"{name}_low"] is None:
        return f"{format_percent(row[name])} [no interval]"
    return f"{format_percent(row[name])} [{format_percent(row[f'{name}_low'])}, {format_percent(row[f'{name}_high'])}]"


def format_p_value(p_value: float | None) -> str:
    """Return a p value with two digits, or a dash where there was no test."""
    return "-" if p_value is None else f"{p_value:.2g}"


def format_interval(row: Mapping[str, Any] | None, absent: str = "-", name: str = "accuracy") -> Cell:
    """Return a cell with a share above its interval, in percent, or with the reason why there is none."""
    if row is None or row[name] is None:
        return Cell(absent, tone="dim")
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    until = " to " if low is not None and low < 0 else "-"
    return Cell(
        format_percent(row[name]),
        below="no interval" if low is None else f"{format_percent(low)}{until}{format_percent(high)}",
    )


def format_verdict(failed: int | None) -> Cell:
    """Return a cell with the outcome of the sanity checks; `failed` is None if none were run."""
    if failed is None:
        return Cell("not checked", tone="bad")
    return Cell(f"{failed} failed", tone="bad") if failed else Cell("passed", tone="good")


def describe_threat(row: Mapping[str, Any]) -> str:
    """Return the bound of an attack as text: ``linf <= 2.5/255, stored 2/255``, ``minimal l2``, or ``any size``."""
    if row["eps"] is not None:
        return f"{row['norm']} {write_bound(row['eps'], row['norm'])}"
    return row.get("limits") or {"any": "any size", "none": "unbounded"}.get(row["norm"], f"minimal {row['norm']}")


def name_or_dash(value: str | None) -> str:
    """Return a name, or a dash where there is none."""
    return value or "-"
