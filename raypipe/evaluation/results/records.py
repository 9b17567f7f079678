"""Records: figures of each model on each set of tiles and in the worst cases, with intervals."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.base.norms import STORED_NORMS
from raypipe.base.threat import compute_stored_radius
from raypipe.evaluation.protocols import ITSELF, Protocol
from raypipe.evaluation.results.artifacts import Artifacts, Predictions
from raypipe.evaluation.results.outcomes import CLEAN_ATTACKED, WORST_CASE, AdversarialExamples, Measure, Outcome
from raypipe.evaluation.results.run import PairingRecord, Run, SubjectRecord
from raypipe.evaluation.statistics.distortion import compute_quartiles
from raypipe.evaluation.statistics.intervals import Groups, estimate_mean, estimate_ratio, estimate_ratios, group_tiles
from raypipe.evaluation.statistics.metrics import compute_chance_accuracy, compute_metrics_of_models
from raypipe.evaluation.statistics.prevalence import reweight_accuracies, reweight_accuracy

LOGITS_AT_ONCE = 2_000_000
"""Number of logits of all tests together whose figures are computed at once: some 100 MB."""


class _Test(NamedTuple):
    """A model and tiles that it was tested on, with the name of the protocol in its record, and its predictions."""

    pairing: PairingRecord
    protocol: str
    predictions: Predictions


def compute_records(
    subject: SubjectRecord,
    run: Run,
    artifacts: Artifacts,
    examples: AdversarialExamples | None,
    outcomes: Mapping[Measure, Outcome],
) -> Iterator[dict[str, Any]]:
    """Yield the rows of `raypipe.evaluation.results.schemas.RESULTS` for one model.

    There is one row for each set of tiles, and then one for each worst case. The clean tiles have a row, and so have
    the clean versions of the attacked tiles. An attack that skipped tiles has none: it has no accuracy of its own.

    Parameters
    ----------
    subject, run, artifacts
        The model, the run, and the reader of its tables.
    examples, outcomes
        Results of `raypipe.evaluation.results.outcomes`.
    """
    marks = {**subject.columns(), "labels": run.labels, "stamps": run.stamps[subject.split]}
    tests: list[_Test] = []
    for pairing in (pairing for pairing in run.find_pairings(subject.id) if pairing.after is None):
        tests.append(_Test(pairing, pairing.protocol, artifacts.read_predictions(pairing)))
        if pairing.protocol == Protocol.CLEAN and examples is not None:
            tests.append(_Test(pairing, CLEAN_ATTACKED, examples.clean))
    all_labels = artifacts.read_predictions(run.find_clean_pairing(subject.id)).labels
    for test, figures in zip(tests, _compute_figures(tests, all_labels, run), strict=True):
        yield {**marks, **_describe(test.pairing, test.predictions, artifacts), **figures, "protocol": test.protocol}
    for measure, outcome in outcomes.items():
        if measure.name == WORST_CASE and examples is not None:
            groups = group_tiles(outcome.groups)
            reweighted = reweight_accuracy(outcome.correct, outcome.labels, all_labels, groups)
            row = _build_worst_case(measure, outcome, examples, run)
            yield {**marks, **row, **reweighted.columns("accuracy_reweighted")}


def _compute_figures(tests: Sequence[_Test], all_labels: NDArray[np.int64], run: Run) -> list[dict[str, Any]]:
    """Return the columns of the figures of each test. Tests of the same tiles are computed together, to save time."""
    by_tiles: defaultdict[tuple[bytes, ...], list[int]] = defaultdict(list)
    for place, (_, _, tiles) in enumerate(tests):
        by_tiles[tiles.ids.tobytes(), tiles.groups.tobytes(), tiles.labels.tobytes()].append(place)
    malignant = tuple(run.labels.index(label) for label in run.malignant) or None
    columns: dict[int, dict[str, Any]] = {}
    for places in by_tiles.values():
        tiles = tests[places[0]].predictions
        groups = group_tiles(tiles.groups)
        at_once = max(1, LOGITS_AT_ONCE // tiles.logits.size)
        for part in (places[start : start + at_once] for start in range(0, len(places), at_once)):
            logits = np.stack([tests[place].predictions.logits for place in part])
            correct = np.stack([tests[place].predictions.correct for place in part])
            metrics = compute_metrics_of_models(
                tiles.labels, logits, groups, malignant, replicates=run.replicates, seed=run.seed
            )
            reweighted = reweight_accuracies(correct, tiles.labels, all_labels, groups)
            for place, figures, accuracy in zip(part, metrics, reweighted, strict=True):
                is_clean = tests[place].protocol == Protocol.CLEAN
                columns[place] = figures.columns() | ({} if is_clean else accuracy.columns("accuracy_reweighted"))
    return [columns[place] for place in range(len(tests))]


def _describe(pairing: PairingRecord, predictions: Predictions, artifacts: Artifacts) -> dict[str, Any]:
    """Return the columns of a record beside its figures: its origin, its threat model, and the cost of its attack."""
    row = {
        **pairing.model_dump(include={"role", "attack", "method", "source"}),
        "tiles_key": pairing.tiles,
        "predictions_key": pairing.predictions,
    }
    if pairing.threat is None:
        return row
    itself, threat, adversarials = pairing.protocol in ITSELF, pairing.threat, artifacts.read_adversarials(pairing)
    attacked = adversarials.clean_prediction == predictions.labels
    row |= {
        "norm": threat.norm,
        "eps": threat.eps,
        "stored_eps": threat.stored_eps,
        "goal": threat.goal,
        "limits": threat.limits,
        "knowledge": threat.knowledge if itself else "transfer",
        "pixels": threat.precision,
    }
    for norm in STORED_NORMS:
        sizes = np.where(predictions.correct, np.inf, adversarials.distortions[norm])
        row[norm] = build_quartile_columns(sizes[attacked])
    if itself:
        row["float_success_rate"] = float(adversarials.float_success[attacked].mean()) if attacked.any() else None
        row["device"] = artifacts.read_device(pairing)
        row |= {name: getattr(adversarials, name).sum().item() for name in ("forwards", "backwards", "seconds")}
    return row


def _build_worst_case(measure: Measure, outcome: Outcome, examples: AdversarialExamples, run: Run) -> dict[str, Any]:
    groups = group_tiles(outcome.groups)
    goals = {pairing.threat.goal for pairing in examples.pairings if pairing.threat}
    transferred = any(pairing.protocol not in ITSELF for pairing in examples.pairings)
    return {
        "protocol": WORST_CASE,
        "role": "evaluation",
        "norm": measure.norm or "any",
        "eps": measure.eps,
        "stored_eps": compute_stored_radius(measure.eps, measure.norm) if measure.norm and measure.eps else None,
        "knowledge": "white-box and transfer" if transferred else "white-box",
        "goal": goals.pop() if len(goals) == 1 else "untargeted",
        "pixels": "8-bit",
        "tiles": len(outcome.ids),
        "groups": groups.count,
        "chance": compute_chance_accuracy(outcome.labels),
        "support": np.bincount(outcome.labels, minlength=len(run.labels)).tolist(),
        **estimate_mean(outcome.correct, groups).columns("accuracy"),
        **_recall(outcome, len(run.labels), groups),
        **(_compute_clinical_errors(measure, examples, run, groups) if run.malignant else {}),
    }


def _recall(outcome: Outcome, labels: int, groups: Groups) -> dict[str, Any]:
    shares = estimate_ratios(
        groups.tally(outcome.labels, labels, outcome.correct), groups.tally(outcome.labels, labels)
    )
    by_label = [share.columns("recall") for share in shares]
    return {column: [row[column] for row in by_label] for column in by_label[0]}


def _compute_clinical_errors(
    measure: Measure, examples: AdversarialExamples, run: Run, groups: Groups
) -> dict[str, Any]:
    """Return the shares of clinical errors in the worst case, with intervals.

    The first share counts the cancers that an attack can make the model call benign. The second counts the benign tiles
    that an attack can make the model call cancer. Errors without an attack count too.
    """
    malignant = [run.labels.index(label) for label in run.malignant]
    benign = [label for label in range(len(run.labels)) if label not in malignant]
    is_cancer = np.isin(examples.clean.labels, malignant)
    within = examples.within(measure.norm, measure.eps)

    def can_be_called(labels: list[int]) -> NDArray[np.bool_]:
        adversarial = (np.isin(examples.predictions, labels) & within).any(axis=0)
        either: NDArray[np.bool_] = adversarial | np.isin(examples.clean.predicted, labels)
        return either

    missed_cancers = estimate_ratio(can_be_called(benign) & is_cancer, is_cancer, groups)
    false_alarms = estimate_ratio(can_be_called(malignant) & ~is_cancer, ~is_cancer, groups)
    return {
        **missed_cancers.columns("cancer_called_benign"),
        **false_alarms.columns("benign_called_cancer"),
    }


def build_quartile_columns(sizes: NDArray[np.float64]) -> dict[str, float | None]:
    """Return the columns `raypipe.evaluation.results.schemas.QUARTILES` of minimal distortions."""
    marks = compute_quartiles(sizes)
    figures = {"lower": marks.lower, "median": marks.median, "upper": marks.upper}
    return {name: figure if np.isfinite(figure) else None for name, figure in figures.items()}
