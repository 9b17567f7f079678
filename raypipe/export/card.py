"""The model card of an exported model: its description, its measured figures, and the untested properties."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from raypipe.base.docstrings import write_value
from raypipe.base.threat import ThreatModel
from raypipe.base.version import __version__
from raypipe.evaluation.protocols import Protocol, Role
from raypipe.evaluation.results.outcomes import CLEAN_ATTACKED, WORST_CASE
from raypipe.evaluation.results.run import LEAKY, SYNTHETIC, PairingRecord, Run, SubjectRecord
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.export.forms import Form
from raypipe.export.rendering import escape_markdown, render
from raypipe.models.checkpoint import ModelCard
from raypipe.report.declaration import METRICS, select_class_metric
from raypipe.report.evidence import DISCLAIMER, NOT_TESTED, tabulate_evidence
from raypipe.report.layout import Book, Row, describe_threat, format_with_interval
from raypipe.report.robustness import find_verdicts

UNKNOWN = "unknown"
"""Name that the Hugging Face hub gives an unstated license."""
ORDER = (
    Protocol.CLEAN,
    CLEAN_ATTACKED,
    Protocol.STATIC,
    Protocol.WHITE_BOX,
    Protocol.ADAPTIVE,
    Protocol.TRANSFER,
    WORST_CASE,
)
SHOWN_ROLES = (Role.GRID, Role.EVALUATION, Role.CURVE, Role.QUERIES)


@dataclass(frozen=True)
class Origin:
    """The origin of an exported model.

    Parameters
    ----------
    run, subject
        Run, and record of the model in it.
    book
        Figures of the run.
    card
        Card from the model's checkpoint.
    tiles
        Manifest of the tiles that the model was trained and tested on.
    experiment
        Resolved settings of the experiment.
    environment
        Versions of Python and of packages; empty if they are unknown.
    digests
        Names and digests of the data, the model, the code and the software.
    """

    run: Run
    subject: SubjectRecord
    book: Book
    card: ModelCard
    tiles: dict[str, Any]
    experiment: dict[str, Any]
    environment: dict[str, str]
    digests: tuple[tuple[str, str], ...] = ()


def write_card(origin: Origin, forms: Sequence[Form], weights_license: str | None) -> str:
    """Return a model card in the layout of the Hugging Face hub, which is YAML followed by Markdown.

    Parameters
    ----------
    origin
        Origin of the model.
    forms
        Files that the model is exported as, besides its weights.
    weights_license
        License of the weights as an SPDX identifier in lower case; None if it is not stated.

    References
    ----------
    Mitchell et al., 2019, arXiv:1810.03993.
    """
    book, subject, run = origin.book, origin.subject, origin.run
    verdict = find_verdicts(book).get(subject.id)
    checks = [row for row in book.checks if row["subject"] == subject.id]
    defense = origin.experiment.get("defenses", {}).get(subject.defense, {})
    return render(
        "card.md.j2",
        front=yaml.safe_dump(_build_front_matter(origin, weights_license), sort_keys=False, allow_unicode=True),
        run=run,
        subject=subject,
        card=origin.card,
        stamps=run.stamps[subject.split],
        verdict=verdict,
        not_passed=[row for row in checks if row["verdict"] != "pass"],
        defense=json.dumps({name: value for name, value in defense.items() if value is not None}),
        loads=any(form.file == "model.py" and form.reason is None for form in forms),
        forms=forms,
        weights_license=weights_license,
        source=origin.experiment.get("data", {}).get("source", UNKNOWN),
        tiles=origin.tiles,
        figures=list(_list_figures(book, subject.id)),
        threats=list(_list_threats(run, subject.id)),
        medicine=list(_list_clinical_errors(book, subject.id)),
        certified=[
            (describe_threat(row) if row["eps"] else "clean", format_with_interval(row, "certified_accuracy"))
            for row in book.certified
            if row["subject"] == subject.id
        ],
        classes=list(_list_classes(book, subject.id)),
        evidence=list(_list_evidence(book)),
        disclaimer=DISCLAIMER,
        digests=origin.digests,
        untested=[*_list_untested(book, subject, origin.card), *NOT_TESTED],
        environment=origin.environment,
        method=METHOD,
        version=__version__,
    )


def _build_front_matter(origin: Origin, weights_license: str | None) -> dict[str, Any]:
    """Return the metadata that https://github.com/huggingface/hub-docs/blob/main/modelcard.md describes."""
    stamps = " ".join(origin.run.stamps[origin.subject.split])
    tags = [word.lower() for word in (LEAKY, SYNTHETIC) if word in stamps]
    found = reversed(_find_rows(origin.book, origin.subject.id))  # of rows with the same name, the first one counts
    rows = {_name_row(row): row for row in found}
    metrics = [
        {"type": "accuracy", "name": name, "value": round(row["accuracy"], 4)} for name, row in reversed(rows.items())
    ]
    source = origin.experiment.get("data", {}).get("source", UNKNOWN)
    return {
        "license": weights_license or UNKNOWN,
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["adversarial-robustness", "raypipe", *tags],
        "model-index": [
            {
                "name": f"{origin.run.name}/{origin.subject.id}",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"type": source, "name": source, "split": "test"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def _find_rows(book: Book, subject: str) -> list[Row]:
    rows = [row for row in book.find_records(subject) if row["protocol"] == WORST_CASE or row["role"] in SHOWN_ROLES]
    return sorted(rows, key=lambda row: ORDER.index(row["protocol"]))


def _name_row(row: Row) -> str:
    under = f", {row['attack']}" if row["attack"] else ""
    source = f" from {row['source']}" if row["protocol"] == "transfer" else ""
    return f"{row['protocol']}{source}{under}" + ("" if row["norm"] is None else f", {describe_threat(row)}")


def _list_figures(book: Book, subject: str) -> Iterator[tuple[str, ...]]:
    for row in _find_rows(book, subject):
        limits = "-" if row["norm"] is None else describe_threat(row)
        source = row["source"] if row["source"] != subject else "itself"
        texts = (row["protocol"], row["attack"] or "-", limits, row["knowledge"] or "-", source or "-")
        yield *map(escape_markdown, texts), format_with_interval(row), str(row["tiles"]), str(row["groups"])


def _list_threats(run: Run, subject: str) -> Iterator[tuple[PairingRecord, ThreatModel, str]]:
    attacks = set()
    for pairing in run.find_pairings(subject):
        if pairing.threat and pairing.attack not in attacks and pairing.role != Role.CHECK:
            attacks.add(pairing.attack)
            settings = {name: value for name, value in (pairing.settings or {}).items() if value is not None}
            yield (
                pairing,
                pairing.threat,
                ", ".join(f"{name}: {write_value(value)}" for name, value in settings.items()),
            )


def _list_clinical_errors(book: Book, subject: str) -> Iterator[tuple[str, str, str]]:
    for row in _find_rows(book, subject):
        if row["cancer_called_benign"] is not None:
            yield (
                _name_row(row),
                format_with_interval(row, "cancer_called_benign"),
                format_with_interval(row, "benign_called_cancer"),
            )


def _list_classes(book: Book, subject: str) -> Iterator[tuple[str, ...]]:
    """Yield the metrics of each class: name, tiles, recall, precision, F1, and recall in the worst case."""
    clean, worst = book.subjects[subject], book.find_headline_case(subject)
    for number, label in enumerate(clean["labels"]):
        metrics = (format_with_interval(select_class_metric(clean, name, number), name) for name in METRICS)
        attacked = format_with_interval(select_class_metric(worst, "recall", number) if worst else None, "recall")
        yield escape_markdown(label), str(clean["support"][number]), *metrics, attacked


def _list_evidence(book: Book) -> Iterator[tuple[str, ...]]:
    for row, _ in tabulate_evidence(book).lines():
        yield tuple(escape_markdown(cell.text) for cell in row)


def _list_untested(book: Book, subject: SubjectRecord, card: ModelCard) -> Iterator[str]:
    """Yield the properties that a reader might take for granted."""
    rows = list(book.find_records(subject.id))
    attacks = [row for row in rows if row["norm"] and row["protocol"] != WORST_CASE]
    norms = sorted({row["norm"] for row in attacks} - {"none"})
    if not attacks:
        yield "Attacks: the run had none on this model."
    elif not norms:
        yield "Perturbations that are small in a pixel norm."
    else:
        yield f"Perturbations that are small in other norms than {', '.join(norms)}."
    if subject.defense and not any(row["protocol"] == Protocol.STATIC for row in rows):
        yield "Adversarial tiles crafted against the model before it was hardened (static)."
    if not any(row["protocol"] == Protocol.TRANSFER for row in rows):
        yield "Adversarial tiles crafted against other networks (transfer)."
    if not any(row["subject"] == subject.id for row in book.checks):
        yield "The attacks themselves: no sanity check was run, so the model must not be called robust."
    if not any(row["subject"] == subject.id for row in book.certified):
        yield "Certificates: robust accuracy is an upper bound, and stronger attacks may lower it."
    tested = any(row["subject"] == subject.id for row in book.corruptions)
    patched = any((row["subject"], row["threat"]) == (subject.id, "patch") for row in book.overview)
    patches = "" if patched else "patches, "
    changes = "other changes than the natural corruptions of the report" if tested else "blur and other corruptions"
    sets = dict.fromkeys(row["set_id"] for row in book.external if row["subject"] == subject.id)
    yield (
        f"Other stains, scanners, laboratories and patients than those of {' and '.join(('the data set', *sets))}, "
        f"{patches}rotations, {changes}, and tiles that were not {card.size} x {card.size} pixels when they were "
        "scored."
    )
