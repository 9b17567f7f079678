"""The first tables of a report: robustness, the sanity checks of the evaluation, and clinical errors."""

from collections.abc import Iterable, Iterator, Mapping

from raypipe.evaluation.checks.rules import Check, Verdict
from raypipe.evaluation.checks.rules import reach_verdict as verdict_of
from raypipe.evaluation.protocols import ITSELF
from raypipe.evaluation.results.run import GIVEN
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import describe_knowledge, format_model
from raypipe.report.layout import Book, Row, describe_threat, format_interval, format_percent, format_with_interval
from raypipe.report.names import name_attack
from raypipe.report.scope import (
    describe_attacked_tiles,
    describe_prevalence,
    describe_test_tiles,
    find_defects,
    is_reweighted,
)
from raypipe.report.sheet import Cell, Note, Sheet, Tone

ANY_SIZE = (
    "Any size: no bound on the perturbation. It counts the adversarial tiles of every attack, including those of the "
    "sanity check with a large eps. Such an attacker fools nearly every model."
)
PASS, FAIL = "pass", "fail"
TONES: dict[str, Tone] = {PASS: "good", FAIL: "bad"}
SHORT = {PASS: "pass", FAIL: "FAIL", "not applicable": "n/a"}
HEADINGS = {
    "clean,\ntest set": "Accuracy on all test tiles, without an attack.",
    "clean,\nattacked\ntiles": "Accuracy on the tiles that were attacked, before the attack.",
    "static\n(paper)": "Accuracy on adversarial tiles that were crafted against the undefended model.",
    "white-box": "Accuracy under a white-box attack on the model itself, which is adaptive for a hardened model.",
    "transfer\n": "Accuracy on adversarial tiles that were crafted against another backbone.",
}
"""Columns of the table of robustness before the worst cases, with their explanations."""


def find_verdicts(book: Book) -> dict[str, Verdict]:
    """Return the verdict on the sanity checks of each model under test for which checks were run."""
    found = {}
    for subject in book.subjects:
        own = [row for row in book.checks if row["subject"] == subject]
        if own:
            checks = [Check(row["check"], *(row[name] for name in Check._fields[1:])) for row in own]
            attacked = next((row for row in book.find_records(subject) if row["protocol"] in ITSELF), None)
            found[subject] = verdict_of(checks, attacked["tiles"] if attacked else None)
    return found


def list_verdicts(book: Book) -> Iterator[Note]:
    """Yield the verdict of each model's sanity checks, which stands above all its figures.

    Notes on classes without attacked tiles and on logits that are not finite follow.
    """
    verdicts = find_verdicts(book)
    for subject in book.subjects:
        if subject not in verdicts:
            yield Note(f"{subject}: not checked, so it is not called robust.", "bad")
            continue
        verdict = verdicts[subject]
        tone: Tone = "bad" if verdict.failed else "warn" if verdict.withheld else "good"
        yield Note(f"{subject}: {verdict.sentence}", tone)
    yield from find_defects(book)


def tabulate_robustness(book: Book) -> Sheet:
    """Return a table of each model's clean, static, adaptive, transfer and worst-case accuracy, with intervals."""
    table = Sheet(
        "Robustness. Accuracy and its 95 % interval, in %; "
        f"{describe_attacked_tiles(book)}; {describe_test_tiles(book)}"
    )
    radii = list(dict.fromkeys(name for subject in book.subjects for name in book.find_worst_cases(subject)))
    table.add_columns("model\ndefense, attack", whole=True)
    for heading, hint in HEADINGS.items():
        table.add_columns(heading, figures=True, whole=True, hint=hint)
    for radius in radii:
        heading = "worst\n" + radius.replace(" <= ", "\n<= ").replace(", ", ",\n")
        table.add_columns(heading, figures=True, whole=True, hint=f"Worst case over all attacks: {radius}.")
    for members in book.list_families().values():
        for subject in members:
            hardened_on = book.subjects[subject]["hardened_on"]
            worst = book.find_worst_cases(subject)
            absent = "not\nmeasured" if book.subjects[subject]["split"] == GIVEN else "not\nhardened"
            table.add_row(
                format_model(book, subject),
                format_interval(book.subjects[subject]),
                format_interval(book.find_clean(subject)),
                format_interval(find_static(book, subject), absent),
                format_interval(find_lowest(book, subject, ITSELF, hardened_on), "not\nattacked"),
                format_interval(find_lowest(book, subject, ("transfer",), None), "no other\nbackbone"),
                *(format_worst_case(worst.get(radius), book) for radius in radii),
            )
        table.add_section()
    table.caption = (
        "Clean, test set: all test tiles. Every other column uses the attacked tiles: compare them with clean, "
        "attacked tiles. Static and white-box: under the attack that the model was hardened with, or else "
        "under the strongest attack; static only under attacks of the grid, if there is one. White-box: the attack is "
        "run on the model itself; for a hardened model it "
        f"is adaptive. {describe_knowledge(book)} Transfer: the strongest attack from any other backbone. Worst case: "
        "a tile counts as correct only if no stored adversarial tile within the bound fools the model. "
        f"{ANY_SIZE} {describe_prevalence(book)} {METHOD}"
    )
    return table


def format_worst_case(row: Row | None, book: Book) -> Cell:
    """Return a cell with a worst case.

    If the attacked tiles have other class shares than the test set, it also has the accuracy at the test set's shares.
    """
    cell = format_interval(row, "not\nattacked")
    if row is None or not is_reweighted(row, book):
        return cell
    return cell._replace(beside=f"({format_percent(row['accuracy_reweighted'])})")


def find_static(book: Book, subject: str) -> Row | None:
    """Return a model's record on adversarial tiles that were made for its undefended twin.

    They are those of the attack that it was hardened with, or else of the strongest attack of `choose_static`.
    """
    return find_strongest(choose_static(book.find_records(subject)), book.subjects[subject]["hardened_on"])


def choose_static(rows: Iterable[Row]) -> list[Row]:
    """Return the records of static evaluation under the attacks of the grid, or under the evaluation's without a grid.

    Attacks that only the evaluation has, such as a patch, are not part of the paper's protocol. With them, models
    hardened without an attack of the grid would be compared on other tiles than those hardened with one.
    """
    static = [row for row in rows if row["protocol"] == "static" and row["role"] in ("grid", "evaluation")]
    return [row for row in static if row["role"] == "grid"] or static


def find_lowest(book: Book, subject: str, protocols: tuple[str, ...], attack: str | None) -> Row | None:
    """Return a model's record with the lowest accuracy under some protocols, over all attacks or under one attack."""
    rows = book.find_records(subject)
    return find_strongest(
        (row for row in rows if row["protocol"] in protocols and row["role"] in ("grid", "evaluation")), attack
    )


def find_strongest(rows: Iterable[Row], attack: str | None) -> Row | None:
    """Return the record of an attack, or without one that of the strongest; None if there is none."""
    chosen = [row for row in rows if attack in (None, row["attack"])]
    return min(chosen, key=lambda row: row["accuracy"], default=None)


def tabulate_attacks(book: Book) -> Sheet | None:
    """Return a table of the accuracy of every model under every attack on the model itself."""
    attacks = {row["attack"]: row for row in book.records if row["protocol"] in ITSELF and row["role"] != "check"}
    attacks = _drop_repetitions(attacks, book)
    if not attacks:
        return None
    title = "Accuracy of every model under every attack on the model itself, in %, counted on 8-bit pixels"
    table = Sheet(f"{title}; {describe_attacked_tiles(book)}")
    table.caption = METHOD
    subjects = list(book.subjects)
    if len(attacks) > len(subjects):  # rows for the longer list keep the table narrow
        table.add_columns("attack", "bound", "knowledge, goal")
        table.add_columns(*map(_get_heading, (format_model(book, subject) for subject in subjects)), figures=True)
        for name, row in attacks.items():
            figures = (format_interval(book.find_white_box(subject, name)) for subject in subjects)
            table.add_row(name_attack(str(name)), describe_threat(row), f"{row['knowledge']}, {row['goal']}", *figures)
        return table
    table.add_columns("model")
    headings = (
        f"{name_attack(name)}\n{describe_threat(row)}\n{row['knowledge']}, {row['goal']}"
        for name, row in attacks.items()
    )
    table.add_columns(*headings, figures=True)
    for subject in subjects:
        table.add_row(
            format_model(book, subject), *(format_interval(book.find_white_box(subject, name)) for name in attacks)
        )
    return table


def _get_heading(cell: Cell) -> str:
    return f"{cell.text}\n{cell.below}"


def _drop_repetitions(attacks: Mapping[str, Row], book: Book) -> dict[str, Row]:
    """Leave out each attack that has the adversarial tiles of an earlier one, for all models, under another name."""
    found: dict[tuple[str | None, ...], str] = {}
    for name in attacks:
        rows = [book.find_white_box(subject, name) for subject in book.subjects]
        found.setdefault(tuple(row["tiles_key"] if row else None for row in rows), name)
    return {name: attacks[name] for name in found.values()}


def tabulate_certified(book: Book) -> Sheet | None:
    """Return a table of certified accuracy next to robust accuracy under attack; None without certificates."""
    if not book.certified:
        return None
    title = "Certified accuracy within a radius, and robust accuracy under all attacks within it, in %"
    table = Sheet(f"{title}; {describe_attacked_tiles(book)}")
    table.add_columns("model", "radius")
    table.add_columns("certified accuracy", "robust accuracy", figures=True)
    for row in book.certified:
        figures = [format_with_interval(row, name) for name in ("certified_accuracy", "robust_accuracy")]
        table.add_row(format_model(book, row["subject"]), describe_threat(row) if row["eps"] else "clean", *figures)
    table.caption = (
        "Randomized smoothing certifies, in L2, the vote over infinitely many draws of noise, with a small probability "
        "of error. Interval bounds certify in L-infinity. The attacks search 8-bit tiles and may miss adversarial "
        f"examples. {METHOD}"
    )
    return table


def tabulate_checks(book: Book) -> Sheet | None:
    """Return a table of the verdict of every sanity check on every model; None without checks."""
    if not book.checks:
        return None
    subjects = list(dict.fromkeys(row["subject"] for row in book.checks))
    table = Sheet(f"Sanity checks; {describe_attacked_tiles(book)}")
    table.add_columns("check")
    table.add_columns(*(str(number) for number, _ in enumerate(subjects, 1)), figures=True)
    for check in dict.fromkeys(row["check"] for row in book.checks):
        verdicts = {row["subject"]: row["verdict"] for row in book.checks if row["check"] == check}
        cells = [verdicts.get(subject, "not applicable") for subject in subjects]
        table.add_row(check, *(Cell(SHORT[verdict], tone=TONES.get(verdict, "dim")) for verdict in cells))
    table.caption = "   ".join(f"{number}: {subject}" for number, subject in enumerate(subjects, 1))
    return table


def tabulate_failures(book: Book) -> Sheet | None:
    """Return a table of the checks that did not pass, with the figure behind each verdict and its meaning."""
    rows = [row for row in book.checks if row["verdict"] != PASS]
    if not rows:
        return None
    table = Sheet("Sanity checks that did not pass")
    table.add_columns("model", "check", "verdict", "figure", "meaning")
    for row in rows:
        verdict = Cell(row["verdict"], tone=TONES.get(row["verdict"], "dim"))
        table.add_row(format_model(book, row["subject"]), row["check"], verdict, row["figure"], row["meaning"])
    return table


def tabulate_clinical_errors(book: Book) -> Sheet | None:
    """Return a table of each model's clinical errors: missed cancers and false alarms.

    It gives them clean, under attacks on the model itself, and in the worst case.
    """
    if all(row["cancer_called_benign"] is None for row in book.subjects.values()):
        return None
    title = "Clinical errors. Missed cancers (share of cancers) and false alarms (share of benign tiles), in %"
    table = Sheet(f"{title}; {describe_attacked_tiles(book)}")
    table.add_columns("model")
    for heading in ("clean", "white-box", f"worst case, {book.headline}"):
        table.add_columns(f"{heading}:\nmissed cancers", f"{heading}:\nfalse alarms", figures=True)
    for subject, clean in book.subjects.items():
        white_box = find_lowest(book, subject, ITSELF, clean["hardened_on"])
        worst = book.find_headline_case(subject)
        figures = [
            format_interval(row, name=name)
            for row in (book.find_clean(subject), white_box, worst)
            for name in ("cancer_called_benign", "benign_called_cancer")
        ]
        table.add_row(format_model(book, subject), *figures)
    table.caption = METHOD
    return table
