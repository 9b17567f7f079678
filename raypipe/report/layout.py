"""What the tables of a run have in common: how rows are found, and how figures, intervals and threats are written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from raypipe.attacks.engine.threat import write_bound
from raypipe.evaluation.results.compute import RunResult
from raypipe.evaluation.results.outcomes import CLEAN_ATTACKED, WORST_CASE
from raypipe.evaluation.results.run import GIVEN, ITSELF
from raypipe.evaluation.settings import REFERENCE
from raypipe.report.sheet import Cell

Row = dict[str, Any]


@dataclass(frozen=True)
class Book:
    """The rows of a run's tables.

    Parameters
    ----------
    records, curves, differences, checks, certified, costs
        Of `raypipe.evaluation.results.compute.RunResult`.
    """

    records: list[Row]
    curves: list[Row]
    differences: list[Row]
    checks: list[Row]
    certified: list[Row]
    costs: list[Row]

    @classmethod
    def of(cls, result: RunResult) -> "Book":
        """The rows of a result."""
        tables = (result.records, result.curves, result.differences, result.checks, result.certified, result.costs)
        return cls(*(table.to_pylist() for table in tables))

    @cached_property
    def subjects(self) -> dict[str, Row]:
        """The clean record of every model under test on the full test set, by its id."""
        return {row["subject"]: row for row in self.records if row["protocol"] == "clean"}

    def clean(self, subject: str) -> Row:
        """The clean record of the tiles on which a model was attacked; of the full test set if it was not."""
        return next(self.of_subject(subject, protocol=CLEAN_ATTACKED), self.subjects[subject])

    @cached_property
    def stamps(self) -> list[str]:
        """What must stand beside the figures."""
        return sorted({stamp for row in self.records for stamp in row["stamps"]})

    @cached_property
    def _index(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {name: [] for name in self.subjects}
        for row in self.records:
            found[row["subject"]].append(row)
        return found

    def of_subject(self, subject: str, **wanted: Any) -> Iterator[Row]:
        """The records of a model with the given values."""
        for row in self._index[subject]:
            if all(row[name] == value for name, value in wanted.items()):
                yield row

    def undefended(self, subject: str) -> str:
        """The id of the clean model that a model was hardened from, or its own."""
        of = self.subjects[subject]
        kin = ("model", "split", "seed")
        return next(
            name
            for name, row in self.subjects.items()
            if row["defense"] is None and all(row[each] == of[each] for each in kin)
        )

    def families(self) -> dict[str, list[str]]:
        """By undefended model: it, and the models hardened from it."""
        found: dict[str, list[str]] = {}
        for subject in self.subjects:
            found.setdefault(self.undefended(subject), []).append(subject)
        return found

    def kind(self, subject: str) -> str:
        """What tells a model from others of its family: its defense and what it was hardened on."""
        row = self.subjects[subject]
        unhardened = "as given" if row["split"] == GIVEN else "undefended"
        return ", ".join(filter(None, (row["defense"], row["hardened_on"]))) or unhardened

    def itself(self, subject: str, attack: str | None) -> Row | None:
        """The record of a model under an attack on itself."""
        return self._of_itself.get((subject, attack))

    @cached_property
    def _of_itself(self) -> dict[tuple[str, str | None], Row]:
        found: dict[tuple[str, str | None], Row] = {}
        for row in sorted((row for row in self.records if row["protocol"] in ITSELF), key=_order_of_protocol):
            found.setdefault((row["subject"], row["attack"]), row)
        return found

    def worst_cases(self, subject: str) -> dict[str, Row]:
        """The worst cases of a model, by how far attackers may go."""
        return {threat(row): row for row in self.of_subject(subject, protocol=WORST_CASE)}

    @cached_property
    def headline(self) -> str | None:
        """The threat model of the worst case that is shown where there is room for one; None if nothing was attacked.

        The ball in which the sanity checks judge the attacks, if the worst case is given there, or else the smallest
        ball. Tiles of any size fool nearly every model, and are shown only where no ball is given.
        """
        balls = [row for row in self.records if row["protocol"] == WORST_CASE]
        judged = {(row["norm"], row["eps"]) for row in self.records if row["attack"] == REFERENCE}

        def rank(row: Row) -> tuple[bool, bool, float]:
            return row["eps"] is None, (row["norm"], row["eps"]) not in judged, row["eps"] or 0.0

        shown = sorted(balls, key=rank)[:1]
        return threat(shown[0]) if shown else None

    def headline_case(self, subject: str) -> Row | None:
        """The record of a model in the worst case of `headline`."""
        return self.worst_cases(subject).get(self.headline or "")


def _order_of_protocol(row: Row) -> int:
    return ITSELF.index(row["protocol"])


def percent(value: float | None) -> str:
    """A share in percent, or a dash where it is undefined."""
    return "-" if value is None else f"{100 * value:.1f}"


def with_interval(row: Mapping[str, Any] | None, name: str = "accuracy") -> str:
    """A share of a record with its 95 % interval, in percent: ``86.7 [81.9, 90.3]``."""
    if row is None or row[name] is None:
        return "-"
    if row[f"{name}_low"] is None:
        return f"{percent(row[name])} [no interval]"
    return f"{percent(row[name])} [{percent(row[f'{name}_low'])}, {percent(row[f'{name}_high'])}]"


def written_p_value(p_value: float | None) -> str:
    """A p value to two digits, or a dash where there was no test."""
    return "-" if p_value is None else f"{p_value:.2g}"


def interval_cell(row: Mapping[str, Any] | None, absent: str = "-") -> Cell:
    """An accuracy above its interval, in percent, or why there is none."""
    if row is None:
        return Cell(absent, tone="dim")
    low, high = row["accuracy_low"], row["accuracy_high"]
    return Cell(percent(row["accuracy"]), below="no interval" if low is None else f"{percent(low)}-{percent(high)}")


def verdict_cell(failed: int | None) -> Cell:
    """What became of the sanity checks; None if none were made."""
    if failed is None:
        return Cell("not checked", tone="bad")
    return Cell(f"{failed} failed", tone="bad") if failed else Cell("passed", tone="good")


def threat(row: Mapping[str, Any]) -> str:
    """Write how far an attack may go: ``linf <= 2.5/255, stored 2/255``, ``minimal l2``, or ``any size``."""
    if row["eps"] is not None:
        return f"{row['norm']} {write_bound(row['eps'], row['norm'])}"
    return "any size" if row["norm"] == "any" else f"minimal {row['norm']}"


def shown(value: str | None) -> str:
    """A name, or a dash where there is none."""
    return value or "-"
