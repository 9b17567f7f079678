"""Tables that answer if a run can be trusted: a verdict for each model, and an overview of the sanity checks."""

from raypipe.report.cells import format_model
from raypipe.report.judgment import RULE, judge_models
from raypipe.report.layout import Book, format_interval
from raypipe.report.robustness import FAIL, PASS, find_verdicts
from raypipe.report.scope import describe_attacked_tiles
from raypipe.report.sheet import Cell, Sheet


def tabulate_verdicts(book: Book) -> Sheet:
    """Return a table with the verdict on each model, the figures behind it, and its sanity checks."""
    verdicts, judgments = find_verdicts(book), judge_models(book)
    table = Sheet(f"Verdict on each model. Accuracy and its 95 % interval, in %; {describe_attacked_tiles(book)}")
    table.add_columns("model", whole=True)
    table.add_columns("verdict")
    table.add_columns("clean", f"worst case\n{book.headline or ''}", figures=True)
    table.add_columns("checks\npassed", "checks\nfailed", "not\napplicable", figures=True)
    table.add_columns("checks that failed")
    for subject, judgment in judgments.items():
        verdict = verdicts.get(subject)
        failed = [row["check"] for row in book.checks if row["subject"] == subject and row["verdict"] == FAIL]
        counts = (
            ("-", "-", "-")
            if verdict is None
            else tuple(str(count) for count in (verdict.passed, verdict.failed, verdict.not_applicable))
        )
        table.add_row(
            format_model(book, subject),
            Cell(judgment.word, tone=judgment.tone),
            format_interval(book.find_clean(subject)),
            format_interval(judgment.worst, "not attacked"),
            *counts,
            Cell("; ".join(failed), tone="bad") if failed else Cell("none" if verdict else "not checked", tone="dim"),
        )
    table.caption = RULE
    return table


def tabulate_check_counts(book: Book) -> Sheet | None:
    """Return a table of the sanity checks, with the number of models that pass each of them; None without checks."""
    if not book.checks:
        return None
    table = Sheet("Sanity checks, by the number of models with each outcome")
    table.add_columns("check", whole=True)
    table.add_columns("passed", "failed", "not\napplicable", figures=True)
    table.add_columns("meaning")
    for check in dict.fromkeys(row["check"] for row in book.checks):
        rows = [row for row in book.checks if row["check"] == check]
        counts = [sum(row["verdict"] == verdict for row in rows) for verdict in (PASS, FAIL)]
        failed = Cell(str(counts[1]), tone="bad" if counts[1] else "dim")
        table.add_row(check, str(counts[0]), failed, str(len(rows) - sum(counts)), rows[0]["meaning"])
    return table
