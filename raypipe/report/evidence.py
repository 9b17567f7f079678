"""Evidence for regulators: which measured table answers which request of a regulation, guidance or standard.

A row is evidence and no claim of compliance. To add a request, add a record to `REQUIREMENTS`. Places are named as the
documents name them; paragraphs are cited only where their text is settled.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from raypipe.evaluation.protocols import ITSELF, Role
from raypipe.report.layout import Book
from raypipe.report.sheet import Cell, Note, Sheet, Tone

DISCLAIMER = (
    "This table lists the figures of the run that a reader can use as evidence. It is no claim of compliance, no legal "
    "advice and no complete list of requirements."
)
NOT_TESTED = (
    "Data poisoning and backdoors: nobody manipulated training data, weights or packages to see what follows.",
    "Model extraction, model inversion and membership inference: the confidentiality of weights and data.",
    "Detection of attacks in operation, logging, and response.",
    "Change of the data over time after deployment (drift), and monitoring.",
    "Use by people: usability, automation bias, and clinical performance on patients.",
)
"""Properties that no run of raypipe tests."""
AI_ACT = "EU AI Act, Regulation (EU) 2024/1689"
FDA = "FDA, AI-Enabled Device Software Functions, draft guidance of January 2025"
NIST = "NIST AI 100-2, Adversarial Machine Learning taxonomy"
ATLAS = "MITRE ATLAS"
ISO = "ISO/IEC TR 24029-1, robustness of neural networks"


class Requirement(NamedTuple):
    """A request of a document, and the figures that answer it.

    Parameters
    ----------
    document, place
        Document, and its part as the document names it.
    asks
        The request, in raypipe's words.
    answers
        Keys of `EVIDENCE`. Empty if no run of raypipe answers the request.
    """

    document: str
    place: str
    asks: str
    answers: tuple[str, ...] = ()


def _has(book: Book, **wanted: object) -> bool:
    return any(all(row[name] == value for name, value in wanted.items()) for row in book.records)


def _knows(book: Book, knowledge: str) -> bool:
    """Return True if attacks with some knowledge ran on the models themselves, beyond the sanity checks."""
    return any(
        row["protocol"] in ITSELF and row["role"] != Role.CHECK and row["knowledge"] == knowledge
        for row in book.records
    )


def _shows(book: Book, threat: str) -> bool:
    return any(row["threat"] == threat for row in book.overview)


EVIDENCE: dict[str, Callable[[Book], bool]] = {
    "precision, recall and F1 by class, with intervals": lambda book: bool(book.subjects),
    "missed cancers and false alarms": lambda book: any(
        row["cancer_called_benign"] is not None for row in book.records
    ),
    "calibration": lambda book: any(row["calibration_error"] is not None for row in book.records),
    "white-box attacks": lambda book: _knows(book, "white-box"),
    "score-based attacks": lambda book: _knows(book, "score-based"),
    "decision-based attacks": lambda book: _knows(book, "decision-based"),
    "accuracy by number of queries": lambda book: bool(book.queries),
    "transfer attacks": lambda book: _has(book, protocol="transfer"),
    "worst case over attacks": lambda book: book.headline is not None,
    "patches": lambda book: _shows(book, "patch"),
    "natural corruptions": lambda book: bool(book.corruptions),
    "stain attack": lambda book: _shows(book, "stain attack"),
    "external test sets": lambda book: bool(book.external),
    "universal perturbation": lambda book: bool(book.universal),
    "defended against undefended models": lambda book: bool(book.differences),
    "certificates": lambda book: bool(book.certified),
    "sanity checks of the attacks": lambda book: bool(book.checks),
    "data, split and leakage": lambda book: bool(book.subjects),
    "digests and bill of materials": lambda book: bool(book.costs),
}
"""Groups of figures, each with a function that returns True if the run measured them."""

REQUIREMENTS = (
    Requirement(
        AI_ACT,
        "Article 15(1)",
        "An appropriate level of accuracy, robustness and cybersecurity, kept up consistently.",
        (
            "precision, recall and F1 by class, with intervals",
            "worst case over attacks",
            "natural corruptions",
            "defended against undefended models",
        ),
    ),
    Requirement(
        AI_ACT,
        "Article 15(3)",
        "The levels of accuracy and the metrics are declared in the instructions for use.",
        ("precision, recall and F1 by class, with intervals", "missed cancers and false alarms", "calibration"),
    ),
    Requirement(
        AI_ACT,
        "Article 15(4)",
        "Resilience to errors, faults and inconsistencies in the system or in its environment.",
        ("natural corruptions", "external test sets"),
    ),
    Requirement(
        AI_ACT,
        "Article 15(5), adversarial examples and model evasion",
        "Measures against inputs that are designed to cause mistakes.",
        (
            "white-box attacks",
            "decision-based attacks",
            "transfer attacks",
            "worst case over attacks",
            "patches",
            "stain attack",
            "sanity checks of the attacks",
        ),
    ),
    Requirement(
        AI_ACT,
        "Article 15(5), data poisoning, model poisoning, confidentiality attacks",
        "Measures against manipulated training data or pretrained components, and against attacks on confidentiality.",
    ),
    Requirement(
        FDA,
        "Performance validation",
        "Performance with its uncertainty, overall and for relevant subgroups, on independent test data.",
        (
            "precision, recall and F1 by class, with intervals",
            "missed cancers and false alarms",
            "data, split and leakage",
            "external test sets",
        ),
    ),
    Requirement(
        FDA,
        "Performance validation, conditions of use",
        "Performance where images are acquired in other ways than in training.",
        ("natural corruptions", "stain attack", "external test sets"),
    ),
    Requirement(
        FDA,
        "Data management",
        "Description of the data, and independence of training and test data.",
        ("data, split and leakage",),
    ),
    Requirement(
        FDA,
        "Cybersecurity, model evasion",
        "Threats that are specific to AI: inputs that are crafted to mislead the model.",
        ("white-box attacks", "decision-based attacks", "transfer attacks", "sanity checks of the attacks"),
    ),
    Requirement(
        FDA,
        "Cybersecurity, data poisoning, model inversion and stealing",
        "Threats that are specific to AI: manipulated data, and theft of the model or of its data.",
    ),
    Requirement(
        FDA,
        "Cybersecurity, data leakage, overfitting, model bias, performance drift",
        "Threats that are specific to AI: leaked data, and training data or inputs that somebody changes on purpose.",
    ),
    Requirement(
        FDA,
        "Cybersecurity, software components",
        "A list of the software components that the model depends on.",
        ("digests and bill of materials",),
    ),
    Requirement(NIST, "White-box evasion attacks", "Evasion with full knowledge of the model.", ("white-box attacks",)),
    Requirement(
        NIST,
        "Black-box evasion attacks, score-based",
        "Evasion with the scores of chosen queries.",
        ("score-based attacks", "accuracy by number of queries"),
    ),
    Requirement(
        NIST,
        "Black-box evasion attacks, decision-based",
        "Evasion with the predicted classes of chosen queries.",
        ("decision-based attacks", "accuracy by number of queries"),
    ),
    Requirement(NIST, "Transferability of attacks", "Evasion with another model.", ("transfer attacks",)),
    Requirement(
        NIST,
        "Mitigations of evasion: adversarial training, randomized smoothing, formal verification",
        "Effect of the mitigations, under attacks that know them.",
        ("defended against undefended models", "certificates", "sanity checks of the attacks"),
    ),
    Requirement(NIST, "Poisoning attacks", "Manipulation of training data or of the model."),
    Requirement(NIST, "Privacy attacks", "Reconstruction of data, membership inference, model extraction."),
    Requirement(ATLAS, "AML.T0015", "Evade the model.", ("worst case over attacks",)),
    Requirement(
        ATLAS,
        "AML.T0043.000",
        "Craft adversarial data: white-box optimization.",
        ("white-box attacks", "patches", "universal perturbation"),
    ),
    Requirement(
        ATLAS,
        "AML.T0043.001",
        "Craft adversarial data: black-box optimization.",
        ("score-based attacks", "decision-based attacks", "accuracy by number of queries"),
    ),
    Requirement(ATLAS, "AML.T0043.002", "Craft adversarial data: black-box transfer.", ("transfer attacks",)),
    Requirement(ATLAS, "AML.T0043.003", "Craft adversarial data: manual modification."),
    Requirement(ATLAS, "AML.T0043.004", "Craft adversarial data: insert a backdoor trigger."),
    Requirement(ATLAS, "AML.T0020", "Poison training data."),
    Requirement(ATLAS, "AML.T0024", "Exfiltration by queries: membership inference, inversion, extraction."),
    Requirement(
        ISO,
        "Statistical methods",
        "Performance on test data, with a measure of its uncertainty.",
        ("precision, recall and F1 by class, with intervals", "calibration", "natural corruptions"),
    ),
    Requirement(ISO, "Formal methods", "Proofs of robustness in a region around inputs.", ("certificates",)),
    Requirement(
        ISO,
        "Empirical methods",
        "Trials of the model under perturbed or adversarial inputs.",
        ("white-box attacks", "natural corruptions", "accuracy by number of queries"),
    ),
)


def tabulate_evidence(book: Book) -> Sheet:
    """Return a table of the requests of documents, and of the figures of this run that are evidence for them."""
    table = Sheet("Evidence for regulators: what was measured, by document")
    table.add_columns("document", "place", "what it asks", "measured in this run", "not measured")
    measured = {name: find(book) for name, find in EVIDENCE.items()}
    for document in dict.fromkeys(each.document for each in REQUIREMENTS):
        for each in (requirement for requirement in REQUIREMENTS if requirement.document == document):
            found, missing = ([name for name in each.answers if measured[name] is state] for state in (True, False))
            tone: Tone = "" if found else "dim"
            absent = "; ".join(missing) if each.answers else "no run of raypipe measures this"
            table.add_row(
                document, each.place, each.asks, Cell("; ".join(found) or "-", tone=tone), Cell(absent or "-")
            )
        table.add_section()
    table.caption = f"{DISCLAIMER} The requests are in raypipe's words; read the documents themselves."
    return table


def list_untested() -> Iterator[Note]:
    """Yield what no run of raypipe tests."""
    for text in NOT_TESTED:
        yield Note(f"Not tested: {text}", "warn")
