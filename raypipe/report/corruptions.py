"""Accuracy under natural corruptions, as a table and as a heat map."""

from raypipe.evaluation.results.corrupted import OVERALL
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import format_model, name_family, name_hardening
from raypipe.report.heats import Heat, shade
from raypipe.report.layout import Book, Row, format_interval, format_percent
from raypipe.report.scope import describe_attacked_tiles
from raypipe.report.sheet import Cell, Sheet

COLOR = "--clean"


def tabulate_corruptions(book: Book) -> Sheet | None:
    """Return a table of each model's accuracy under corruptions; None if the run has none."""
    if not book.corruptions:
        return None
    from raypipe.corruptions import CORRUPTIONS  # noqa: PLC0415  it imports PyTorch, which takes seconds

    table = Sheet(f"Accuracy under natural corruptions, and its 95 % interval, in %; {describe_attacked_tiles(book)}")
    table.add_columns("model")
    table.add_columns("clean", "corrupted, mean", "lowest", figures=True)
    table.add_columns("worst corruption")
    table.add_columns("relative error", figures=True)
    for subject, rows in _group_by_subject(book).items():
        overall = [row for row in rows if row["severity"] == OVERALL]
        worst = min((row for row in rows if row["severity"] != OVERALL), key=lambda row: row["accuracy"])
        table.add_row(
            format_model(book, subject),
            format_interval(overall[0], name="clean_accuracy"),
            format_percent(sum(row["accuracy"] for row in overall) / len(overall)),
            format_interval(worst),
            f"{CORRUPTIONS[worst['corruption']].title}, severity {worst['severity']}",
            _format_mean_relative_error(overall),
        )
    (baseline, *_) = dict.fromkeys(row["baseline"] for row in book.corruptions)
    table.caption = (
        f"{len(CORRUPTIONS)} corruptions can be chosen, each at five severities. Corrupted, mean: over all corruptions "
        "and severities of the run. Lowest: at the worst of them. Relative error: errors as a share of those of "
        f"{baseline}, averaged over corruptions. Natural corruptions are no attacks: nobody searches for the worst "
        f"one. {METHOD}"
    )
    return table


def build_corruptions_heat(book: Book) -> Heat | None:
    """Return a matrix of accuracy by model and corruption, averaged over severities; None if the run has none."""
    if not book.corruptions:
        return None
    from raypipe.corruptions import CORRUPTIONS  # noqa: PLC0415  it imports PyTorch, which takes seconds

    names = tuple(dict.fromkeys(row["corruption"] for row in book.corruptions))
    rows = []
    for subject, own in _group_by_subject(book).items():
        overall = {row["corruption"]: row["accuracy"] for row in own if row["severity"] == OVERALL}
        label = f"{name_family(book, subject)}, {name_hardening(book, subject)}"
        rows.append((label, tuple(shade(f"{100 * overall[name]:.0f}", overall[name]) for name in names)))
    return Heat(
        "Accuracy in %, mean over severities", tuple(CORRUPTIONS[name].title for name in names), tuple(rows), COLOR
    )


def _group_by_subject(book: Book) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in book.corruptions:
        found.setdefault(row["subject"], []).append(row)
    return found


def _format_mean_relative_error(rows: list[Row]) -> Cell:
    known = [row["relative_error"] for row in rows if row["relative_error"] is not None]
    return Cell(f"{sum(known) / len(known):.2f}" if known else "-")
