"""The first tables of a report: robustness, the sanity checks of the evaluation, and clinical errors."""

from collections.abc import Iterator

from raypipe.evaluation.checks.rules import Check, Verdict
from raypipe.evaluation.checks.rules import verdict as verdict_of
from raypipe.evaluation.results.outcomes import CLEAN_ATTACKED
from raypipe.evaluation.results.run import GIVEN, ITSELF
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.layout import Book, Row, interval_cell, percent, threat, with_interval
from raypipe.report.scope import attacked_tiles, is_reweighted, prevalence_note, test_tiles, uncovered_classes
from raypipe.report.sheet import Cell, Note, Sheet, Tone

ANY_SIZE = (
    "Any size: no bound at all. It counts the tiles of every attack, also those that a large eps made to check the "
    "attacks, and such an attacker fools nearly every model."
)
PASS, FAIL = "pass", "fail"
TONES: dict[str, Tone] = {PASS: "good", FAIL: "bad"}
SHORT = {PASS: "pass", FAIL: "FAIL", "not applicable": "n/a"}


def verdicts_of(book: Book) -> dict[str, Verdict]:
    """Return the verdict on the sanity checks of each model under test for which checks were run."""
    found = {}
    for subject in book.subjects:
        own = [row for row in book.checks if row["subject"] == subject]
        if own:
            checks = [Check(row["check"], *(row[name] for name in Check._fields[1:])) for row in own]
            attacked = next((row for row in book.of_subject(subject) if row["protocol"] in ITSELF), None)
            found[subject] = verdict_of(checks, attacked["tiles"] if attacked else None)
    return found


def verdict_lines(book: Book) -> Iterator[Note]:
    """Yield the verdict of each model's sanity checks, which stands above all its figures.

    Notes on classes without attacked tiles and on logits that are not finite follow.
    """
    verdicts = verdicts_of(book)
    for subject in book.subjects:
        if subject not in verdicts:
            yield Note(f"{subject}: not checked; nothing here may be called robust.", "bad")
            continue
        said = verdicts[subject]
        yield Note(f"{subject}: {said.sentence}", "bad" if said.failed else "warn" if said.withheld else "good")
    yield from uncovered_classes(book)
    for row in book.records:
        if row["broken"] and row["protocol"] != CLEAN_ATTACKED:  # the record of all clean tiles already reports these
            tested = row["attack"] or "clean tiles"
            count = f"{row['broken']} of {row['tiles']}"
            text = f"{row['subject']}: on {tested}, {count} tiles have logits that are not finite"
            yield Note(f"{text}; they count as misclassified.", "bad")


def robustness_table(book: Book) -> Sheet:
    """Return a table of each model's clean, static, adaptive, transfer and worst-case accuracy, with intervals."""
    table = Sheet(f"Robustness. Accuracy and its 95 % interval, in %; {attacked_tiles(book)}; {test_tiles(book)}")
    radii = list(dict.fromkeys(name for subject in book.subjects for name in book.worst_cases(subject)))
    table.add_columns("model\ndefense, hardened on", whole=True)
    table.add_columns("clean,\ntest set", "clean,\nattacked", figures=True, whole=True)
    table.add_columns("static\n(paper)", "attacked\nanew", "transfer\n", figures=True, whole=True)
    table.add_columns(
        *("worst\n" + radius.replace(" <= ", "\n<= ").replace(", ", ",\n") for radius in radii),
        figures=True,
        whole=True,
    )
    for undefended, members in book.families().items():
        for subject in members:
            hardened_on = book.subjects[subject]["hardened_on"]
            worst = book.worst_cases(subject)
            absent = "left\nout" if book.subjects[subject]["split"] == GIVEN else "not\nhardened"
            table.add_row(
                Cell(undefended, below=book.kind(subject)),
                interval_cell(book.subjects[subject]),
                interval_cell(book.clean(subject)),
                interval_cell(lowest(book, subject, ("static",), hardened_on), absent),
                interval_cell(lowest(book, subject, ITSELF, hardened_on), "not\nattacked"),
                interval_cell(lowest(book, subject, ("transfer",), None), "no other\nbackbone"),
                *(worst_cell(worst.get(radius), book) for radius in radii),
            )
        table.add_section()
    table.caption = (
        "Clean, test set: all test tiles. Every other column is of the attacked tiles: compare them with clean, "
        "attacked. Static and attacked anew: under the attack that the model was hardened on, or else the strongest. "
        "Transfer: the strongest from any other backbone. Worst case: a tile counts only if no stored adversarial tile "
        f"within the bound fools the model, whatever it was made for. {ANY_SIZE} {prevalence_note(book)} " + METHOD
    )
    return table


def worst_cell(row: Row | None, book: Book) -> Cell:
    """Return a cell with a worst case.

    If the attacked tiles have other class shares than the test set, it also has the accuracy at the test set's shares.
    """
    cell = interval_cell(row, "not\nattacked")
    if row is None or not is_reweighted(row, book):
        return cell
    return cell._replace(beside=f"({percent(row['accuracy_reweighted'])})")


def lowest(book: Book, subject: str, protocols: tuple[str, ...], attack: str | None) -> Row | None:
    """Return a model's record with the lowest accuracy under some protocols, over all attacks or under one attack."""
    rows = [
        row
        for row in book.of_subject(subject)
        if row["protocol"] in protocols and row["role"] in ("grid", "evaluation")
        if attack is None or row["attack"] == attack
    ]
    return min(rows, key=lambda row: row["accuracy"], default=None)


def attacks_table(book: Book) -> Sheet | None:
    """Return a table of the accuracy of every model under every attack on the model itself."""
    attacks = {row["attack"]: row for row in book.records if row["protocol"] in ITSELF and row["role"] != "check"}
    if not attacks:
        return None
    title = "Every model attacked anew with every attack. Accuracy, in %; white-box, counted on 8-bit pixels"
    table = Sheet(f"{title}; {attacked_tiles(book)}")
    table.caption = METHOD
    subjects = list(book.subjects)
    if len(attacks) > len(subjects):  # rows for the longer list keep the table narrow
        table.add_columns("attack", "within", "knowledge, goal")
        table.add_columns(*subjects, figures=True)
        for name, of in attacks.items():
            figures = (with_interval(book.itself(subject, name)) for subject in subjects)
            table.add_row(str(name), threat(of), f"{of['knowledge']}, {of['goal']}", *figures)
        return table
    table.add_columns("model")
    headings = (f"{name}\n{threat(of)}\n{of['knowledge']}, {of['goal']}" for name, of in attacks.items())
    table.add_columns(*headings, figures=True)
    for subject in subjects:
        table.add_row(subject, *(with_interval(book.itself(subject, name)) for name in attacks))
    return table


def certified_table(book: Book) -> Sheet | None:
    """Return a table of certified accuracy next to robust accuracy under attack; None without certificates."""
    if not book.certified:
        return None
    title = "Certified. Share of tiles proved right within a radius, beside what no attack fooled there, in %"
    table = Sheet(f"{title}; {attacked_tiles(book)}")
    table.add_columns("model", "within")
    table.add_columns("certified", "under attack", figures=True)
    for row in book.certified:
        figures = [with_interval(row, name) for name in ("certified_accuracy", "robust_accuracy")]
        table.add_row(row["subject"], threat(row) if row["eps"] else "clean", *figures)
    table.caption = (
        "Randomised smoothing proves in l2, of the vote over infinitely many draws of noise, with a small probability "
        "of error; interval bounds prove in linf. Attacks were made for 8-bit tiles and may have missed some. " + METHOD
    )
    return table


def checks_table(book: Book) -> Sheet | None:
    """Return a table of the verdict of every sanity check on every model; None without checks."""
    if not book.checks:
        return None
    subjects = list(dict.fromkeys(row["subject"] for row in book.checks))
    table = Sheet(f"Sanity checks; {attacked_tiles(book)}")
    table.add_columns("check")
    table.add_columns(*(str(number) for number, _ in enumerate(subjects, 1)), figures=True)
    for check in dict.fromkeys(row["check"] for row in book.checks):
        verdicts = {row["subject"]: row["verdict"] for row in book.checks if row["check"] == check}
        said = [verdicts.get(subject, "not applicable") for subject in subjects]
        table.add_row(check, *(Cell(SHORT[verdict], tone=TONES.get(verdict, "dim")) for verdict in said))
    table.caption = "   ".join(f"{number}: {subject}" for number, subject in enumerate(subjects, 1))
    return table


def failures_table(book: Book) -> Sheet | None:
    """Return a table of the checks that did not pass, with the figure behind each verdict and its meaning."""
    rows = [row for row in book.checks if row["verdict"] != PASS]
    if not rows:
        return None
    table = Sheet("Sanity checks that did not pass")
    table.add_columns("model", "check", "verdict", "figure", "what it means")
    for row in rows:
        verdict = Cell(row["verdict"], tone=TONES.get(row["verdict"], "dim"))
        table.add_row(row["subject"], row["check"], verdict, row["figure"], row["meaning"])
    return table


def medicine_table(book: Book) -> Sheet | None:
    """Return a table of each model's clinical errors: missed cancers and false alarms.

    It gives them clean, under attacks on the model itself, and in the worst case.
    """
    if all(row["cancer_called_benign"] is None for row in book.subjects.values()):
        return None
    title = "What it means in medicine. Share of cancers called benign and of benign tiles called cancer, in %"
    table = Sheet(f"{title}; {attacked_tiles(book)}")
    table.add_columns("model")
    for heading in ("clean", "attacked anew", f"worst case, {book.headline}"):
        table.add_columns(f"{heading}:\ncancer missed", f"{heading}:\nfalse alarm", figures=True)
    for subject, clean in book.subjects.items():
        anew = lowest(book, subject, ITSELF, clean["hardened_on"])
        worst = book.headline_case(subject)
        figures = [
            with_interval(row, name)
            for row in (book.clean(subject), anew, worst)
            for name in ("cancer_called_benign", "benign_called_cancer")
        ]
        table.add_row(subject, *figures)
    table.caption = METHOD
    return table
