"""Results of a run for Python: tables, figures and single tiles, read from its store without Ray."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import pyarrow as pa

from raypipe.base.norms import STORED_NORMS
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.result import RunResult, load_result
from raypipe.evaluation.results.run import PairingRecord, Run, read_run
from raypipe.evaluation.results.schemas import PER_TILE
from raypipe.report.figures.bars import draw_bars
from raypipe.report.figures.lines import draw_lines
from raypipe.report.judgment import judge_models
from raypipe.report.layout import Book
from raypipe.report.page.report import write_report
from raypipe.report.robustness import find_static, find_verdicts
from raypipe.report.summary import conclude, find_direct
from raypipe.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FigureName = Literal["accuracy", "curves"]
SHARES = ("clean", "static", "white_box", "worst_case", "worst_case_low", "worst_case_high")
"""Columns of the summary that are shares from 0 to 1."""


@dataclass(frozen=True, repr=False)
class Results(RunResult):
    """The results of a run, with what they were computed from.

    Besides the tables of `raypipe.evaluation.results.result.RunResult`, which are Arrow tables, it has a summary of
    one row per model, a table of single tiles, figures and the report. It cannot be changed.

    Parameters
    ----------
    run
        Record of the run: its models, classes and attacks.
    store
        Store of the run.
    """

    run: Run
    store: Store

    @classmethod
    def from_run(cls, run: Run, result: RunResult, store: Store) -> "Results":
        """Return the results of a run with its record and its store."""
        return cls(**vars(result), run=run, store=store)

    @classmethod
    def load(cls, name: str, store: Store) -> "Results":
        """Load the results of an earlier run.

        Raises
        ------
        FileNotFoundError
            If the store has no finished run of that name. The message lists the existing runs.
        raypipe.storage.errors.StoreError
            If a newer raypipe wrote the run, or the run is damaged.
        """
        return cls.from_run(read_run(store, name), load_result(store, name), store)

    @cached_property
    def book(self) -> Book:
        """The rows of all tables."""
        return Book.from_result(self)

    @property
    def conclusion(self) -> str:
        """The three sentences that the report begins with."""
        return " ".join(conclude(self.book).sentences)

    @property
    def stamps(self) -> tuple[str, ...]:
        """The warnings that must stand next to every figure of the run."""
        return tuple(self.book.stamps)

    def to_pandas(self) -> "pd.DataFrame":
        """Return a summary of one row per model.

        Returns
        -------
        pandas.DataFrame
            Accuracy on the attacked tiles, from 0 to 1: ``clean``, ``static``, ``white_box``, and ``worst_case`` with
            its 95 % interval and its ``threat`` model. ``checks_failed`` is the number of sanity checks that failed,
            and ``verdict`` the verdict of the report. What was not measured is NaN. The index has the models' ids.
        """
        import pandas as pd  # noqa: PLC0415  importing it takes time that a terminal does not have

        book, verdicts = self.book, find_verdicts(self.book)
        rows = {}
        for subject, judgment in judge_models(book).items():
            found = {"clean": book.find_clean(subject), "static": find_static(book, subject)}
            found["white_box"] = find_direct(book, subject)
            worst = book.find_headline_case(subject) or {}
            verdict = verdicts.get(subject)
            rows[subject] = {
                **{name: row["accuracy"] if row else None for name, row in found.items()},
                **{f"worst_case{end}": worst.get(f"accuracy{end}") for end in ("", "_low", "_high")},
                "threat": book.headline if worst else None,
                "checks_failed": verdict.failed if verdict else None,
                "verdict": judgment.word,
            }
        frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
        return frame.astype(dict.fromkeys(SHARES, float))

    def tiles(self, subject: str | None = None) -> pa.Table:
        """Return one row for each model and tile that it was tested on, clean and under every attack.

        Parameters
        ----------
        subject
            Id of a model; default: all models.

        Returns
        -------
        pyarrow.Table
            Table with the columns `raypipe.evaluation.results.schemas.PER_TILE`.

        Raises
        ------
        ValueError
            If the run has no such model.
        FileNotFoundError
            If artifacts of the run no longer exist.
        """
        known = [each.id for each in self.run.subjects]
        if subject is not None and subject not in known:
            raise ValueError(f"run {self.name} has no model {subject!r}; it has {', '.join(known)}")
        artifacts = Artifacts(self.store)
        chosen = [pairing for pairing in self.run.pairings if subject in (None, pairing.subject)]
        artifacts.read_ahead(chosen)
        return pa.concat_tables(_tabulate_tiles(pairing, self.run.labels, artifacts) for pairing in chosen)

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Draw the accuracy of every model with its 95 % interval: clean, static, white-box and in the worst case.

        Parameters
        ----------
        axes
            Axes to draw on; default: those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes. `raypipe` saves nothing: ``results.plot().figure.savefig("accuracy.png")``.
        """
        return draw_bars(self.book, axes)

    def figure(self, name: FigureName = "accuracy") -> "Figure":
        """Draw a figure of the report with matplotlib.

        Parameters
        ----------
        name
            ``accuracy`` as `plot` draws it, or ``curves``: robust accuracy by the size of the perturbation.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, which a notebook shows: ``results.figure("curves").savefig("curves.png")``.

        Raises
        ------
        ValueError
            If there is no such figure, or the run has no data for it.
        """
        if name not in get_args(FigureName):
            raise ValueError(f"there is no figure {name!r}; expected {' or '.join(map(repr, get_args(FigureName)))}")
        if name == "curves":
            return draw_lines(self.book)
        return cast("Figure", self.plot().figure)  # the axes of a new figure lie in no figure of another

    def report(self) -> str:
        """Write the report of the run, one HTML page, to its folder in the store, and return its path."""
        return write_report(self.run, self, self.store)

    def __repr__(self) -> str:
        """Return the conclusion, the stamps and the summary. The tables of a run fill screens."""
        stamps = "".join(f"\n{stamp}" for stamp in self.stamps)
        return f"{self.name}: {self.conclusion}{stamps}\n{self.to_pandas().to_string(float_format='{:.3f}'.format)}"

    def _repr_html_(self) -> str:
        """Return the conclusion and the summary, as a notebook shows them."""
        return "".join(self._render_parts())

    def _render_parts(self) -> Iterator[str]:
        yield f"<p><b>{escape(self.name)}</b>: {escape(self.conclusion)}</p>"
        yield from (f"<p><b>{escape(stamp)}</b></p>" for stamp in self.stamps)
        yield self.to_pandas().to_html(float_format="{:.3f}".format, na_rep="-")


def _tabulate_tiles(pairing: PairingRecord, labels: tuple[str, ...], artifacts: Artifacts) -> pa.Table:
    """Return the rows of a model on one set of tiles."""
    tested = artifacts.read_predictions(pairing)
    count = len(tested.ids)
    sizes = artifacts.read_adversarials(pairing).distortions if pairing.threat else {}
    names = pa.array(labels)
    columns: dict[str, Any] = {
        name: [getattr(pairing, name)] * count for name in ("subject", "protocol", "role", "attack", "source")
    }
    columns |= {"sample_id": tested.ids.tolist(), "group_id": tested.groups.tolist(), "correct": tested.correct}
    columns |= {"label": names.take(pa.array(tested.labels)), "prediction": names.take(pa.array(tested.predicted))}
    columns |= {norm: sizes[norm] if sizes else [None] * count for norm in STORED_NORMS}
    return pa.table(columns, schema=PER_TILE)
