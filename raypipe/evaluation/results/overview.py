"""Overview of all threats: the accuracy of each model under each kind of threat, beside that of its undefended twin.

To add a kind of threat, write a function that returns the outcome of a model under it, and add it to `COLUMNS`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.base.threat import ThreatModel
from raypipe.evaluation.protocols import ITSELF, CheckAttack, Role
from raypipe.evaluation.results.artifacts import Artifacts
from raypipe.evaluation.results.corrupted import Answers, read_answers
from raypipe.evaluation.results.outcomes import WORST_CASE, AdversarialExamples, Measure, Outcome
from raypipe.evaluation.results.queries import count_most, count_queries_needed, find_query_pairings
from raypipe.evaluation.results.run import PairingRecord, Run, SubjectRecord
from raypipe.evaluation.statistics.comparison import compare
from raypipe.evaluation.statistics.intervals import estimate_mean, group_tiles

FEW_QUERIES = 1000
"""Number of queries of the attacker who only queries the model."""


class ThreatOutcome(NamedTuple):
    """The tiles that a model classifies correctly under one kind of threat.

    Parameters
    ----------
    ids, groups
        (n,) ids and groups of the tiles. A tile that is shown in several versions has an id for each.
    correct
        (n,) True where the model is correct.
    detail
        Limits of the threat as text, such as ``linf <= 4/255``.
    """

    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    correct: NDArray[np.bool_]
    detail: str


@dataclass(frozen=True, eq=False)
class Model:
    """A model and everything that was measured on it.

    Parameters
    ----------
    subject, run, artifacts
        The model, the run, and the reader of its tables.
    examples, outcomes
        Results of `raypipe.evaluation.results.outcomes`.
    """

    subject: SubjectRecord
    run: Run
    artifacts: Artifacts
    examples: AdversarialExamples | None
    outcomes: Mapping[Measure, Outcome]

    def find_outcome(
        self, wanted: Callable[[PairingRecord], bool], norm: str | None = None, eps: float | None = None
    ) -> ThreatOutcome | None:
        """Return the tiles on which none of some attacks on the model itself fools it; None without such an attack.

        Parameters
        ----------
        wanted
            Function that returns True for these attacks.
        norm, eps
            Ball outside of which a perturbation does not count; None for no ball.
        """
        if self.examples is None:
            return None
        chosen = [pairing.protocol in ITSELF and wanted(pairing) for pairing in self.examples.pairings]
        if not any(chosen):
            return None
        examples = self.examples.select(chosen)
        fooled = (examples.fooled & examples.within(norm, eps)).any(axis=0)
        threats = [pairing.threat for pairing in examples.pairings if pairing.threat]
        detail = ", ".join(dict.fromkeys(_write(threat, norm, eps) for threat in threats))
        clean = examples.clean
        return ThreatOutcome(clean.ids, clean.groups, clean.correct & ~fooled, detail)

    def answers(self) -> dict[str, Answers]:
        """Return the model's answers on corrupted tiles, by corruption."""
        own = [record for record in self.run.corrupted if record.subject == self.subject.id]
        return {record.corruption: read_answers(record, self.artifacts) for record in own}


def choose_headline_ball(run: Run) -> tuple[str, float] | None:
    """Return the ball in which models are compared: that of the sanity checks, or else the smallest; None without."""
    threats = [pairing.threat for pairing in run.pairings if pairing.attack == CheckAttack.REFERENCE]
    judged = {(threat.norm, threat.eps) for threat in threats if threat}
    balls = [(norm, eps) for norm, radii in run.radii.items() for eps in radii]
    return min(balls, key=lambda ball: (ball not in judged, ball[1]), default=None)


def _measure_clean(model: Model) -> ThreatOutcome | None:
    outcome = model.outcomes[Measure("clean")] if model.examples is None else model.examples.clean
    return ThreatOutcome(outcome.ids, outcome.groups, outcome.correct, "no change")


def _measure_corruptions(model: Model) -> ThreatOutcome | None:
    answers = model.answers()
    if not answers:
        return None
    parts = [
        (np.char.add(own.ids, f"/{name}/{severity}"), own.groups, own.at(severity))
        for name, own in answers.items()
        for severity in own.severities
    ]
    ids, groups, correct = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return ThreatOutcome(ids, groups, correct, f"mean of {len(answers)} corruptions at all severities")


def _measure_worst_corruption(model: Model) -> ThreatOutcome | None:
    cases = [(own.at(severity), name, severity) for name, own in model.answers().items() for severity in own.severities]
    if not cases:
        return None
    from raypipe.corruptions import CORRUPTIONS  # noqa: PLC0415  it imports PyTorch, which takes seconds

    correct, name, severity = min(cases, key=lambda case: case[0].mean())
    own = model.answers()[name]
    return ThreatOutcome(own.ids, own.groups, correct, f"{CORRUPTIONS[name].title}, severity {severity}")


def _measure_stain_attack(model: Model) -> ThreatOutcome | None:
    return model.find_outcome(lambda pairing: pairing.method == "stain" and _is_search(pairing))


def _measure_external(model: Model) -> ThreatOutcome | None:
    own = [record for record in model.run.external if record.subject == model.subject.id]
    if not own:
        return None
    parts = []
    for record in own:
        tiles, prefix = model.artifacts.read_logits(record.predictions), f"{record.set_id}/"
        parts.append((np.char.add(prefix, tiles.ids), np.char.add(prefix, tiles.groups), tiles.correct))
    ids, groups, correct = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return ThreatOutcome(ids, groups, correct, ", ".join(record.set_id for record in own))


def _measure_universal(model: Model) -> ThreatOutcome | None:
    own = (record for record in model.run.universal if record.subject == record.source == model.subject.id)
    if (record := next(own, None)) is None:
        return None
    table = model.artifacts.read_perturbed(record.key)
    ids = np.array(table["sample_id"].to_pylist(), dtype=np.str_)
    groups = np.array(pc.coalesce(table["group_id"], table["sample_id"]).to_pylist(), dtype=np.str_)
    correct = table["prediction"].to_numpy() == table["label"].to_numpy()
    return ThreatOutcome(ids, groups, correct, f"one pattern, {ThreatModel(record.norm, record.eps).bound}")


def _measure_patch(model: Model) -> ThreatOutcome | None:
    return model.find_outcome(lambda pairing: pairing.method == "adversarial_patch")


def _measure_black_box(model: Model) -> ThreatOutcome | None:
    pairings = list(find_query_pairings(model.run.find_pairings(model.subject.id)))
    if not pairings:
        return None
    tiles = model.artifacts.read_predictions(pairings[0])
    needed = np.min([count_queries_needed(pairing, model.artifacts) for pairing in pairings], axis=0)
    most = min(FEW_QUERIES, *map(count_most, pairings))
    bounds = dict.fromkeys(pairing.threat.bound for pairing in pairings if pairing.threat)
    return ThreatOutcome(tiles.ids, tiles.groups, needed > most, f"{', '.join(bounds)}, {most:,} queries")


def _measure_autoattack(model: Model) -> ThreatOutcome | None:
    ball = choose_headline_ball(model.run)

    def covers(pairing: PairingRecord) -> bool:
        threat = pairing.threat
        if pairing.method != "autoattack" or threat is None or ball is None or threat.norm != ball[0]:
            return False
        return pairing.role == Role.CURVE or threat.eps == ball[1]

    return model.find_outcome(covers, *ball) if ball else None


def _measure_worst_case(model: Model) -> ThreatOutcome | None:
    ball = choose_headline_ball(model.run)
    outcome = model.outcomes.get(Measure(WORST_CASE, None, *(ball or (None, None))))
    if outcome is None:
        return None
    detail = _write(ThreatModel("none", None), *ball) if ball else "any size"
    return ThreatOutcome(outcome.ids, outcome.groups, outcome.correct, detail)


COLUMNS: dict[str, Callable[[Model], ThreatOutcome | None]] = {
    "clean": _measure_clean,
    "natural corruptions": _measure_corruptions,
    "worst corruption": _measure_worst_corruption,
    "stain attack": _measure_stain_attack,
    "external": _measure_external,
    "universal perturbation": _measure_universal,
    "black box": _measure_black_box,
    "patch": _measure_patch,
    "AutoAttack": _measure_autoattack,
    "worst case": _measure_worst_case,
}
"""The kinds of threats, in the order in which tables show them. Each function returns None where the model was not
tested."""


def compute_overview(models: Mapping[str, Model]) -> Iterator[dict[str, Any]]:
    """Yield the rows of `raypipe.evaluation.results.schemas.OVERVIEW`: one for each model and each measured threat.

    Parameters
    ----------
    models
        All models of a run, by id.
    """
    for model in models.values():
        twin = models.get(model.subject.undefended or "")
        for threat, find in COLUMNS.items():
            if (own := find(model)) is None:
                continue
            groups = group_tiles(own.groups)
            row = {
                **model.subject.columns(),
                "threat": threat,
                "detail": own.detail,
                "tiles": len(own.ids),
                "groups": groups.count,
                **estimate_mean(own.correct, groups).columns("accuracy"),
            }
            other = find(twin) if twin else None
            if twin and other and np.array_equal(own.ids, other.ids):
                difference = compare(own.correct, other.correct, groups).difference
                row |= {"against": twin.subject.id, **difference.columns("difference")}
            yield row


def _is_search(pairing: PairingRecord) -> bool:
    """Return True if an attack looks at the model, and does not only draw at random."""
    return pairing.threat is not None and pairing.threat.knowledge != "none"


def _write(threat: ThreatModel, norm: str | None, eps: float | None) -> str:
    return threat.bound if norm is None else ThreatModel(norm, eps).bound  # type: ignore[arg-type]
