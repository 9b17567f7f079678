"""The report of a run: one page, which is made from its records and its stored tiles alone."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from markupsafe import Markup

from raypipe.evaluation.protocols import ITSELF
from raypipe.evaluation.results.compute import RunResult
from raypipe.evaluation.results.run import Run
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.details import (
    calibration_table,
    cell_costs_table,
    cost_table,
    differences_table,
    distortions_table,
    seeds_table,
    stage_costs_table,
)
from raypipe.report.figures.costs import costs_figure
from raypipe.report.figures.curves import curves_figure, distortions_figure
from raypipe.report.figures.labels import labels_figure
from raypipe.report.figures.learning import learning_curves
from raypipe.report.figures.reliability import reliability_figure
from raypipe.report.figures.robustness import robustness_figure
from raypipe.report.gallery import galleries, galleries_left_out
from raypipe.report.glossary import GLOSSARY, section_terms
from raypipe.report.heats import confusions, transfers
from raypipe.report.layout import Book, Row, percent
from raypipe.report.page.render import render
from raypipe.report.paper_tables import COMPARED, PAPER, STATIC, table_1, table_2, table_3, threats
from raypipe.report.ranking import find_winner, may_be_best
from raypipe.report.robustness import (
    attacks_table,
    checks_table,
    clinical_errors_table,
    failures_table,
    find_lowest,
    robustness_table,
    verdict_lines,
    verdicts_of,
)
from raypipe.report.scope import attacked_tiles, count_tiles
from raypipe.report.sections import stamps
from raypipe.report.sheet import Cell, Note, Section, Sheet, Tone
from raypipe.report.threats import threats_table
from raypipe.storage.environment import read_environment
from raypipe.storage.store import Store

REPORT_FILE = "report.html"


class Drawing(NamedTuple):
    """A figure and its caption."""

    svg: Markup
    caption: str


class Part(NamedTuple):
    """A part of the page.

    Parameters
    ----------
    id
        Anchor of the part.
    name
        Name in the table of contents.
    heading
        Heading above the part.
    drawings
        Figures of the part.
    sheets
        Tables of the part.
    """

    id: str
    name: str
    heading: str
    drawings: tuple[Drawing, ...]
    sheets: tuple[Section, ...]


def write_report(run: Run, result: RunResult, store: Store) -> str:
    """Write the report of a run to its folder, and return its path.

    Raises
    ------
    FileNotFoundError
        If artifacts or records of the run are missing.
    """
    book = Book.from_result(result)
    parts = tuple(_parts(book, run, store))
    folder = f"runs/{run.name}"
    named = [("glance", "Summary"), ("checks", "Verdicts"), *((part.id, part.name) for part in parts)]
    page = render(
        "report",
        title=f"{run.name}: raypipe report",
        run=run,
        summary=_summary(book, run),
        cards=tuple(_cards(book)),
        stamps=stamps(book),
        verdicts=tuple(verdict_lines(book)),
        contents=[*named, ("pictures", "Pictures"), ("reproduce", "Reproduce"), ("glossary", "Glossary")],
        figures={"robustness": Markup(robustness_figure(book))},  # noqa: S704  drawn here
        scope=attacked_tiles(book),
        sections=parts,
        confusions=tuple(confusions(book)),
        transfers=tuple(transfers(book)),
        galleries=galleries(run, store),
        galleries_left_out=galleries_left_out(run),
        environment=read_environment(store, run.name),
        seeds=sorted({subject.seed for subject in run.subjects}),
        experiment=store.read_bytes(f"{folder}/experiment.yaml").decode(),
        terms=section_terms,
        glossary=GLOSSARY,
        location=result.location,
        storage=store.root,
    )
    store.write_bytes(f"{folder}/{REPORT_FILE}", page)
    return store.path(f"{folder}/{REPORT_FILE}")


def _parts(book: Book, run: Run, store: Store) -> Iterator[Part]:
    notes = stamps(book)
    yield Part(
        "robustness",
        "Robustness",
        "Accuracy of every model under every attack",
        (),
        _tables((robustness_table(book), attacks_table(book)), notes),
    )
    reservations = (Note(threats(book)), Note(PAPER), Note(STATIC), *notes)
    paper = (
        Section(table_1(book), (Note(threats(book)), *notes)),
        Section(table_2(book), reservations),
        Section(table_3(book, run.data), (Note(COMPARED), *notes)),
    )
    yield Part("paper", "The paper's tables", "The paper's tables: reported and measured figures", (), paper)
    yield Part("judged", "Checks", "The sanity checks", (), _tables((checks_table(book), failures_table(book)), notes))
    curves = {
        "Robust accuracy by size of the perturbation, in the worst case over all attacks. Bands: 95 % intervals; "
        f"{attacked_tiles(book)}. {METHOD}": curves_figure(book),
        "Minimum perturbation that fools each model, by attack: median (dot) and quartiles (line).": (
            distortions_figure(book)
        ),
    }
    yield Part(
        "curves",
        "Curves",
        "Robust accuracy by size of the perturbation",
        _drawings(curves),
        _tables((distortions_table(book),), notes),
    )
    bars = {
        "Recall of each class: the share of its tiles that the model classifies correctly; a dash marks a class "
        f"without tiles. Lines: 95 % intervals; {attacked_tiles(book)}. {METHOD}": labels_figure(book)
    }
    yield Part(
        "classes",
        "Classes",
        "Recall by class, and clinical errors",
        _drawings(bars),
        _tables((clinical_errors_table(book),), notes),
    )
    if any(row["protocol"] == "transfer" for row in book.records):
        yield Part("transfer", "Transfer", "Transferability of adversarial examples", (), ())
    diagrams = {
        "Accuracy by confidence. On the dotted line a model is calibrated. The area of a point grows with its number "
        f"of tiles. Lines: 95 % intervals; {attacked_tiles(book)}. {METHOD}": reliability_figure(book)
    }
    yield Part(
        "calibration",
        "Calibration",
        "Calibration: does confidence match accuracy?",
        _drawings(diagrams),
        _tables((calibration_table(book),), notes),
    )
    if tables := _tables((differences_table(book), seeds_table(book)), notes):
        yield Part("differences", "Differences", "Differences in accuracy", (), tables)
    if learned := learning_curves(run, store):
        yield Part("training", "Training", "Learning curves", _drawings(learned), ())
    spent = {
        "Seconds that all workers spent on each model, by stage.": costs_figure(book),
    }
    costs = _tables((stage_costs_table(book), cost_table(book), cell_costs_table(book)), notes)
    yield Part("cost", "Cost", "Cost of the run", _drawings(spent), costs)
    yield Part("threats", "Threat models", "Threat models of all attacks", (), (Section(threats_table(run)),))


def _tables(sheets: tuple[Sheet | None, ...], notes: tuple[Note, ...]) -> tuple[Section, ...]:
    return tuple(Section(sheet, notes) for sheet in sheets if sheet is not None)


def _drawings(figures: Mapping[str, str | None]) -> tuple[Drawing, ...]:
    return tuple(Drawing(Markup(svg), caption) for caption, svg in figures.items() if svg is not None)  # noqa: S704


def _summary(book: Book, run: Run) -> str:
    """Return a sentence on the models, tiles and attacks of the run."""
    hardened = sum(row["defense"] is not None for row in book.subjects.values())
    attacks = {
        row["attack"] for row in book.records if row["protocol"] in ITSELF and row["role"] in ("grid", "evaluation")
    }
    clean = next(iter(book.subjects.values()))
    attacked = book.clean(clean["subject"])
    undefended = len(book.subjects) - hardened
    models = (
        f"{undefended} undefended {_plural(undefended, 'model')} and {hardened} hardened {_plural(hardened, 'model')}"
    )
    return (
        f"{models} were tested on {clean['tiles']} tiles of {len(run.labels)} classes from {clean['groups']} groups. "
        f"Of these, {count_tiles(attacked)} were also attacked, with {len(attacks)} {_plural(len(attacks), 'attack')} "
        "on every model itself."
    )


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _cards(book: Book) -> Iterator[Cell]:
    """Yield the key figures of the run."""
    verdicts = verdicts_of(book)
    sound = sum(not verdict.withheld for verdict in verdicts.values())
    tone: Tone = "good" if sound == len(book.subjects) else "bad"
    yield Cell(
        f"{sound} of {len(book.subjects)}",
        f"{_plural(len(book.subjects), 'model')} whose evaluation passed the sanity checks",
        tone=tone,
    )
    yield _best(book.subjects.values(), "clean accuracy on the test set")
    static = [
        row
        for row in book.records
        if row["protocol"] == "static" and row["role"] == "grid" and row["hardened_on"] == row["attack"]
    ]
    if static:
        best = max(static, key=lambda row: row["accuracy"])
        yield Cell(
            f"{percent(best['accuracy'])} %",
            f"highest accuracy in static evaluation (the paper's protocol): {best['subject']}",
        )
        white_box = find_lowest(book, best["subject"], ITSELF, best["hardened_on"])
        if white_box is not None:
            yield Cell(f"{percent(white_box['accuracy'])} %", "the same model under a white-box attack", tone="bad")
    worst = [(row, verdicts.get(name)) for name in book.subjects if (row := book.headline_case(name))]
    if cleared := [row for row, verdict in worst if may_be_best(row, verdict)]:
        yield _best(cleared, f"worst case, {book.headline}, among models that passed the sanity checks")


def _best(rows: Iterable[Row], figure: str) -> Cell:
    """Return a cell with the model of the highest figure, or with a note that intervals overlap and none is best."""
    found = list(rows)
    winner, highest = find_winner(found), max(row["accuracy"] for row in found)
    if len(found) == 1:
        return Cell(f"{percent(highest)} %", f"{figure}: {found[0]['subject']}")
    if winner is not None:
        return Cell(f"{percent(highest)} %", f"best {figure}: {winner['subject']}")
    return Cell(f"{percent(highest)} %", f"highest {figure}; intervals overlap, so no model is best")
