"""Findings of a run, ranked by severity, and the limits within which they hold."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from raypipe.evaluation.protocols import ITSELF
from raypipe.evaluation.results.run import LEAKY, SYNTHETIC, Run
from raypipe.report.judgment import NOT_JUDGED, judge_models
from raypipe.report.layout import Book, Row, format_percent
from raypipe.report.names import name_attack
from raypipe.report.robustness import find_lowest, find_static, find_verdicts
from raypipe.report.scope import find_defects, is_reweighted
from raypipe.report.summary import choose_model, describe_change, find_direct, name_model

Severity = Literal["critical", "major", "minor", "good"]
SEVERITIES: tuple[Severity, ...] = ("critical", "major", "minor", "good")
LARGE = 0.1
"""Difference of two shares that is worth a finding."""
CONFIDENT = 0.8
"""Mean confidence from which a model that is wrong misleads its user."""


class Finding(NamedTuple):
    """A finding: how severe it is, one sentence, and the section of the report with its figures."""

    severity: Severity
    text: str
    section: str


def list_findings(book: Book) -> list[Finding]:
    """Return the findings of a run, the most severe first."""
    subject = choose_model(book, judge_models(book))
    makers = (
        _find_missed_cancers(book, subject),
        _find_false_alarms(book, subject),
        _find_lost_accuracy(book, subject),
        _find_static_bias(book),
        _find_transfer(book, subject),
        _find_failed_checks(book),
        _find_confident_errors(book, subject),
        _find_cost_of_hardening(book, subject),
        _find_gain_of_hardening(book, subject),
        (Finding("major", note.text, "accuracy") for note in find_defects(book)),
    )
    found = [finding for maker in makers for finding in maker]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _find_missed_cancers(book: Book, subject: str) -> Iterator[Finding]:
    yield from _find_clinical(book, subject, "cancer_called_benign", "misses", "of cancers", "critical")


def _find_false_alarms(book: Book, subject: str) -> Iterator[Finding]:
    yield from _find_clinical(book, subject, "benign_called_cancer", "calls", "of benign tiles cancer", "major")


def _find_lost_accuracy(book: Book, subject: str) -> Iterator[Finding]:
    clean, attacked = book.find_clean(subject), book.find_headline_case(subject) or find_direct(book, subject)
    if attacked is None or clean["cancer_called_benign"] is not None:  # clinical errors say more
        return
    text = (
        f"Attacked directly with {describe_change(attacked)}, {name_model(book, subject)} classifies "
        f"{_write(attacked, 'accuracy')} of the tiles correctly; without an attack {_write(clean, 'accuracy')}."
    )
    yield Finding("critical" if clean["accuracy"] - attacked["accuracy"] > LARGE else "minor", text, "accuracy")


def _find_clinical(book: Book, subject: str, name: str, verb: str, of: str, severity: Severity) -> Iterator[Finding]:
    clean, attacked = book.find_clean(subject), book.find_headline_case(subject) or find_direct(book, subject)
    if attacked is None or clean[name] is None or attacked[name] is None:
        return
    text = (
        f"Attacked directly with {describe_change(attacked)}, {name_model(book, subject)} {verb} "
        f"{_write(attacked, name)} {of}; without an attack it {verb} {_write(clean, name)}."
    )
    yield Finding(severity if attacked[name] - clean[name] > LARGE else "minor", text, "clinical")


def _find_static_bias(book: Book) -> Iterator[Finding]:
    pairs = [
        (static["accuracy"] - direct["accuracy"], subject, static, direct)
        for subject in book.subjects
        if (static := find_static(book, subject)) and (direct := find_direct(book, subject))
    ]
    large = [pair for pair in pairs if pair[0] > LARGE]
    if not large:
        return
    _, subject, static, direct = max(pairs, key=lambda pair: pair[0])
    yield Finding(
        "critical",
        f"Static evaluation, the paper's protocol, overstates the robustness of {len(large)} of {len(pairs)} hardened "
        f"models: {name_model(book, subject)} classifies {format_percent(static['accuracy'])} % of adversarial tiles "
        f"made for the undefended model correctly, and {format_percent(direct['accuracy'])} % when attacked directly.",
        "accuracy",
    )


def _find_transfer(book: Book, subject: str) -> Iterator[Finding]:
    row, clean = find_lowest(book, subject, ("transfer",), None), book.find_clean(subject)
    if row is not None and clean["accuracy"] - row["accuracy"] > LARGE:
        yield Finding(
            "major",
            f"An attacker needs no access to {name_model(book, subject)}: adversarial tiles made for another backbone "
            f"lower its accuracy from {format_percent(clean['accuracy'])} to {format_percent(row['accuracy'])} %.",
            "details",
        )


def _find_failed_checks(book: Book) -> Iterator[Finding]:
    verdicts, judgments = find_verdicts(book), judge_models(book)
    failed = sum(bool(verdict.failed) for verdict in verdicts.values())
    if failed:
        yield Finding(
            "major",
            f"Sanity checks failed for {failed} of {len(book.subjects)} models: their robust accuracy may be "
            "overestimated.",
            "trust",
        )
    if missing := len(book.subjects) - len(verdicts):
        yield Finding("major", f"No sanity check was run for {missing} of {len(book.subjects)} models.", "trust")
    unjudged = sum(judgment.word == NOT_JUDGED for judgment in judgments.values())
    if unjudged and unjudged > failed:
        yield Finding("major", f"{unjudged} of {len(book.subjects)} models could not be judged.", "trust")


def _find_confident_errors(book: Book, subject: str) -> Iterator[Finding]:
    row = _find_most_confident(book, subject)
    if row is not None and row["accuracy"] < 1 / 2 and row["confidence"] >= CONFIDENT:
        yield Finding(
            "major",
            f"A high confidence gives no protection: under {name_attack(row['attack'])}, {name_model(book, subject)} "
            f"is {format_percent(row['accuracy'])} % correct with a mean confidence of "
            f"{format_percent(row['confidence'])} %.",
            "details",
        )


def _find_most_confident(book: Book, subject: str) -> Row | None:
    rows = [
        row
        for row in book.find_records(subject)
        if row["protocol"] in ITSELF and row["role"] != "check" and row["confidence"] is not None
    ]
    return max(rows, key=lambda row: row["confidence"] - row["accuracy"], default=None)


def _find_cost_of_hardening(book: Book, subject: str) -> Iterator[Finding]:
    before, after = book.find_clean(book.find_undefended(subject)), book.find_clean(subject)
    if before["accuracy"] - after["accuracy"] > LARGE / 2:
        yield Finding(
            "minor",
            f"Hardening lowers clean accuracy from {format_percent(before['accuracy'])} to "
            f"{format_percent(after['accuracy'])} %.",
            "accuracy",
        )


def _find_gain_of_hardening(book: Book, subject: str) -> Iterator[Finding]:
    before, after = book.find_headline_case(book.find_undefended(subject)), book.find_headline_case(subject)
    if before is None or after is None or after["accuracy_low"] is None or before["accuracy_high"] is None:
        return
    if after["accuracy_low"] > before["accuracy_high"]:
        yield Finding(
            "good",
            f"Hardening raises the worst case ({book.headline}) from {format_percent(before['accuracy'])} to "
            f"{format_percent(after['accuracy'])} %; the intervals do not overlap.",
            "accuracy",
        )
    elif book.find_undefended(subject) != subject:
        yield Finding(
            "major",
            f"Hardening is not shown to raise the worst case ({book.headline}): it is "
            f"{format_percent(before['accuracy'])} % without hardening and {format_percent(after['accuracy'])} % with "
            "it; that interval is not above the other.",
            "accuracy",
        )


def _write(row: Row, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = "" if low is None else f" ({100 * low:.0f} to {100 * high:.0f} %)"
    return f"{100 * row[name]:.0f} %{interval}"


def list_limits(book: Book, run: Run) -> Iterator[str]:
    """Yield sentences on the intended use of a report, and on what its figures do not cover."""
    row = book.find_clean(next(iter(book.subjects)))
    yield (
        "Intended use: to compare models in research and quality assurance. This is not a medical device, and no "
        "diagnosis may rest on it."
    )
    for stamp in book.stamps:
        name, _, text = stamp.partition(": ")
        if name == SYNTHETIC:
            yield f"The tissue is synthetic, drawn by a program: {text}."
        elif name.startswith(LEAKY):
            yield f"Accuracy may be overestimated ({name}): {text}."
    wide = 100 * max(
        (
            each["accuracy_high"] - each["accuracy_low"]
            for each in _list_attacked(book)
            if each["accuracy_low"] is not None
        ),
        default=0,
    )
    yield (
        f"{row['tiles']} tiles from {row['groups']} groups were attacked. The 95 % intervals are up to {wide:.0f} "
        "points wide, and they do not cover other scanners, stains or hospitals."
    )
    yield (
        "Accuracy under attack is an upper bound: a stronger attack may exist. The attacker changes the pixels of the "
        f"digital image; {_list_shifts(book)}."
    )
    if any(is_reweighted(book.find_headline_case(subject), book) for subject in book.subjects):
        yield "The attacked tiles are balanced by class, so their class shares differ from those of the test set."
    if run.malignant:
        yield "A tile is not a patient: a missed cancer is one tile of a cancer that is called benign."


def _list_shifts(book: Book) -> str:
    """Return a clause on the changes of the tissue, the slide or the scanner that the run tested."""
    tested = ["simulated"] if book.corruptions else []
    sets = dict.fromkeys(row["set_id"] for row in book.external)
    tested += [f"those of {', '.join(sets)}"] if sets else []
    if not tested:
        return "changes of the tissue, the slide or the scanner are not tested"
    return f"changes of the tissue, the slide or the scanner are tested only as {' and as '.join(tested)}"


def _list_attacked(book: Book) -> Iterator[Row]:
    for subject in book.subjects:
        yield book.find_clean(subject)
        if row := book.find_headline_case(subject):
            yield row
