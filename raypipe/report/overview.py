"""Overview of all threats: a table, and for each hardened model a sentence on what its defense buys."""

from collections.abc import Iterator, Mapping

from raypipe.evaluation.results.overview import COLUMNS
from raypipe.evaluation.statistics.intervals import DIFFERENCE_METHOD, METHOD
from raypipe.report.cells import format_model, name_family, name_hardening
from raypipe.report.layout import Book, Row, format_interval
from raypipe.report.scope import describe_attacked_tiles
from raypipe.report.sheet import Cell, Note, Sheet, Tone

NATURAL = "natural corruptions"
"""The threat whose difference says if a defense costs natural robustness."""
ALWAYS = ("clean", "AutoAttack", "worst case")
"""Threats that the table of robustness shows anyway. A run with no other threat needs no view of all."""
UNMEASURED = "-"


def list_threats(book: Book) -> list[str]:
    """Return the kinds of threats that were measured for some model, in their order; none without a view of all."""
    found = {row["threat"] for row in book.overview}
    return [] if found <= set(ALWAYS) else [threat for threat in COLUMNS if threat in found]


def index_overview(book: Book) -> dict[tuple[str, str], Row]:
    """Return the rows of the view by model and kind of threat."""
    return {(row["subject"], row["threat"]): row for row in book.overview}


def tabulate_overview(book: Book) -> Sheet | None:
    """Return a table of every model under every kind of threat; None if only attacks in a ball were measured."""
    threats, rows = list_threats(book), index_overview(book)
    if not threats:
        return None
    table = Sheet(f"All threats in one view. Accuracy and its 95 % interval, in %; {describe_attacked_tiles(book)}")
    table.add_columns("model", whole=True)
    for threat in threats:
        details = dict.fromkeys(row["detail"] for row in book.overview if row["threat"] == threat)
        table.add_columns(threat, figures=True, hint="; ".join(details))
    for members in book.list_families().values():
        for subject in members:
            cells = (format_interval(rows.get((subject, threat)), UNMEASURED) for threat in threats)
            table.add_row(format_model(book, subject), *cells)
        table.add_section()
    limits = "; ".join(
        f"{threat}: {_describe_detail(book, threat)}" for threat in threats if _describe_detail(book, threat)
    )
    table.caption = f"A dash: not measured. {limits[:1].upper()}{limits[1:]}. {METHOD}"
    return table


def _describe_detail(book: Book, threat: str) -> str:
    details = dict.fromkeys(row["detail"] for row in book.overview if row["threat"] == threat)
    return next(iter(details)) if len(details) == 1 else "another one for each model"


def _list_differences(book: Book) -> Iterator[tuple[str, dict[str, Row]]]:
    """Yield each hardened model with its rows that have a difference to the undefended model, by kind of threat."""
    threats, rows = list_threats(book), index_overview(book)
    for subject, own in book.subjects.items():
        found = {threat: rows[subject, threat] for threat in threats if (subject, threat) in rows}
        differences = {threat: row for threat, row in found.items() if row["difference"] is not None}
        if own["defense"] is not None and differences:
            yield subject, differences


def tabulate_overview_differences(book: Book) -> Sheet | None:
    """Return a table of what each hardened model gains and loses under every kind of threat; None without any."""
    threats, differences = list_threats(book), dict(_list_differences(book))
    if not differences:
        return None
    table = Sheet("What hardening buys and costs: accuracy minus that of the undefended model, in percentage points")
    table.add_columns("model", whole=True)
    table.add_columns(*threats, figures=True)
    for subject, rows in differences.items():
        cells = [
            Cell(write_difference(rows[name]), tone=_choose_tone(rows[name])) if name in rows else UNMEASURED
            for name in threats
        ]
        table.add_row(f"{name_family(book, subject)}, {name_hardening(book, subject)}", *cells)
    table.caption = f"In color: the interval excludes 0. {DIFFERENCE_METHOD} {_warn_of_chance(differences)}"
    return table


def describe_hardened(book: Book) -> Iterator[Note]:
    """Yield a sentence for each hardened model: its gains and losses, and its natural robustness.

    A gain or a loss is a difference whose interval excludes 0.
    """
    differences = dict(_list_differences(book))
    for subject, rows in differences.items():
        gains, losses = ([name for name, row in rows.items() if _choose_tone(row) == tone] for tone in ("good", "bad"))
        unsure = [name for name in rows if name not in {*gains, *losses}]
        texts = [
            f"{verb}: {', '.join(f'{name} {write_difference(rows[name])}' for name in names)}"
            for verb, names in (("gains", gains), ("loses", losses))
            if names
        ]
        texts += [f"no difference is shown: {', '.join(unsure)}"] if unsure else []
        verdict, tone = _judge(rows.get(NATURAL))
        model = f"{name_family(book, subject)}, {name_hardening(book, subject)}"
        yield Note(f"{model}, minus the undefended model, in percentage points; {'; '.join(texts)}. {verdict}", tone)
    if differences:
        yield Note(f"{DIFFERENCE_METHOD} {_warn_of_chance(differences)}")


def _warn_of_chance(differences: Mapping[str, Mapping[str, Row]]) -> str:
    """Return a sentence on the number of intervals, which are not adjusted for it."""
    count = sum(row["difference_low"] is not None for rows in differences.values() for row in rows.values())
    return (
        f"The {count} intervals are not adjusted for their number: where hardening changes nothing, about one in 20 "
        "excludes 0 by chance."
    )


def _choose_tone(row: Row) -> Tone:
    """Return the tone of a difference: none if its interval contains 0, or if it has no interval."""
    low, high = row["difference_low"], row["difference_high"]
    if low is None or low <= 0 <= high:
        return ""
    return "good" if low > 0 else "bad"


def write_difference(row: Row) -> str:
    """Return a difference with its interval, in percentage points: ``+12.5 [+3.1, +21.0]``."""
    difference = f"{100 * row['difference']:+.1f}"
    if row["difference_low"] is None:
        return f"{difference} [no interval]"
    return f"{difference} [{100 * row['difference_low']:+.1f}, {100 * row['difference_high']:+.1f}]"


def _judge(natural: Row | None) -> tuple[str, Tone]:
    """Return a sentence on natural robustness: the defense costs or adds it only where the interval leaves out 0."""
    if natural is None:
        return "Natural robustness was not measured.", "dim"
    tone = _choose_tone(natural)
    match tone:
        case "bad":
            return "The defense costs natural robustness.", tone
        case "good":
            return "The defense adds natural robustness.", tone
        case _:
            return "No effect on natural robustness is shown.", tone
