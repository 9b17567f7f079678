"""The tables that come first: what an attacker gets, whether the evaluation is sound, and what it means in medicine."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from raypipe.evaluation.checks import Check
from raypipe.evaluation.checks import verdict as verdict_of
from raypipe.evaluation.run import ITSELF
from raypipe.report.layout import Book, Row, percent, threat, titled, with_interval

PASS, FAIL = "pass", "fail"
STYLES = {PASS: "green", FAIL: "bold red"}
SHORT = {PASS: "pass", FAIL: "FAIL", "not applicable": "n/a"}


def verdict_lines(book: Book) -> Iterator[Text]:
    """For each model under test, what its sanity checks say together: it stands above all its figures."""
    for subject in book.subjects:
        own = [row for row in book.checks if row["subject"] == subject]
        checks = tuple(Check(row["check"], *(row[name] for name in Check._fields[1:])) for row in own)
        if not checks:
            yield Text(f"{subject}: not checked; nothing here may be called robust.", "bold red")
            continue
        said = verdict_of(checks)
        yield Text(f"{subject}: {said.sentence}", "bold red" if said.failed else "yellow" if said.withheld else "green")
    for row in book.records:
        if row["broken"]:
            tested = row["attack"] or "clean tiles"
            count = f"{row['broken']} of {row['tiles']}"
            text = f"{row['subject']}: on {tested}, {count} tiles have logits that are not finite"
            yield Text(f"{text}; they count as misclassified.", "bold red")


def robustness_table(book: Book) -> Table:
    """Clean, static, adaptive, transfer and worst case of every model, with intervals."""
    table = titled("Robustness. Accuracy and its 95 % interval over source tiles, in %")
    radii = list(dict.fromkeys(name for subject in book.subjects for name in book.worst_cases(subject)))
    table.add_column("model\ndefense, hardened on", no_wrap=True)
    for heading in ("clean\n", "static\n(paper)", "attacked\nanew", "transfer\n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for radius in radii:
        table.add_column("worst\n" + radius.replace(" <= ", "\n<= "), justify="right", no_wrap=True)
    for undefended in (name for name, row in book.subjects.items() if row["defense"] is None):
        for subject, clean in book.subjects.items():
            if book.undefended(subject) == undefended:
                hardened_on = clean["hardened_on"]
                worst = book.worst_cases(subject)
                kind = ", ".join(filter(None, (clean["defense"], hardened_on)))
                table.add_row(
                    f"{undefended}\n{kind or 'undefended'}",
                    _cell(clean),
                    _cell(_lowest(book, subject, ("static",), hardened_on), "not\nhardened"),
                    _cell(_lowest(book, subject, ITSELF, hardened_on), "not\nattacked"),
                    _cell(_lowest(book, subject, ("transfer",), None), "no other\nbackbone"),
                    *(_cell(worst.get(radius), "not\nattacked") for radius in radii),
                )
        table.add_section()
    table.caption = (
        "Static and attacked anew: under the attack that the model was hardened on, or else the strongest. Transfer: "
        "the strongest from any other backbone. Worst case: a tile counts only if nothing fools the model, static, "
        "transferred or made against itself."
    )
    table.caption_justify = "left"
    return table


def _cell(row: Row | None, reason: str = "") -> Text:
    """A figure above its interval, or why there is none."""
    if row is None:
        return Text(reason, "dim")
    low, high = row["accuracy_low"], row["accuracy_high"]
    interval = f"{percent(low)}-{percent(high)}" if low is not None else "no interval"
    return Text.assemble(percent(row["accuracy"]), "\n", (interval, "dim"))


def _lowest(book: Book, subject: str, protocols: tuple[str, ...], attack: str | None) -> Row | None:
    rows = [
        row
        for row in book.of_subject(subject)
        if row["protocol"] in protocols and row["role"] in ("grid", "evaluation")
        if attack is None or row["attack"] == attack
    ]
    return min(rows, key=lambda row: row["accuracy"], default=None)


def attacks_table(book: Book) -> Table | None:
    """Every model under every attack, made against itself: all pairs of attack and defense."""
    attacks = {row["attack"]: row for row in book.records if row["protocol"] in ITSELF and row["role"] != "check"}
    if not attacks:
        return None
    table = titled("Every model attacked anew with every attack. Accuracy, in %; white-box, counted on 8-bit pixels")
    table.add_column("model")
    for name, row in attacks.items():
        table.add_column(f"{name}\n{threat(row)}\n{row['knowledge']}, {row['goal']}", justify="right")
    for subject in book.subjects:
        rows = [book.itself(subject, attack) for attack in attacks]
        table.add_row(subject, *(with_interval(row) for row in rows))
    return table


def checks_table(book: Book) -> Table | None:
    """The verdict of every sanity check on every model."""
    if not book.checks:
        return None
    subjects = list(dict.fromkeys(row["subject"] for row in book.checks))
    table = titled("Sanity checks")
    table.add_column("check")
    for number, _ in enumerate(subjects, 1):
        table.add_column(str(number), justify="center")
    for check in dict.fromkeys(row["check"] for row in book.checks):
        verdicts = {row["subject"]: row["verdict"] for row in book.checks if row["check"] == check}
        said = [verdicts[subject] for subject in subjects]
        table.add_row(check, *(Text(SHORT[verdict], STYLES.get(verdict, "dim")) for verdict in said))
    table.caption = "   ".join(f"{number}: {subject}" for number, subject in enumerate(subjects, 1))
    table.caption_justify = "left"
    return table


def failures_table(book: Book) -> Table | None:
    """What did not pass: the figure behind each verdict, and what it means."""
    rows = [row for row in book.checks if row["verdict"] != PASS]
    if not rows:
        return None
    table = titled("Sanity checks that did not pass")
    for heading in ("model", "check", "verdict", "figure", "what it means"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        verdict = Text(row["verdict"], STYLES.get(row["verdict"], "dim"))
        table.add_row(row["subject"], row["check"], verdict, row["figure"], row["meaning"])
    return table


def medicine_table(book: Book) -> Table | None:
    """Cancer called benign apart from benign called cancer: clean, attacked anew, and in the worst case."""
    if all(row["cancer_called_benign"] is None for row in book.subjects.values()):
        return None
    table = titled("What it means in medicine. Share of cancers called benign and of benign tiles called cancer, in %")
    table.add_column("model")
    for heading in ("clean", "attacked anew", "worst case"):
        table.add_column(f"{heading}:\ncancer missed", justify="right")
        table.add_column("\nfalse alarm", justify="right")
    for subject, clean in book.subjects.items():
        anew = _lowest(book, subject, ITSELF, clean["hardened_on"])
        worst = next(iter(book.worst_cases(subject).values()), None)
        figures = [
            with_interval(row, name)
            for row in (clean, anew, worst)
            for name in ("cancer_called_benign", "benign_called_cancer")
        ]
        table.add_row(subject, *figures)
    return table
