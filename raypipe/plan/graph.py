"""Graph of an experiment's cells: its models, the tests of each, and all cells that these need."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from raypipe.attacks.base import NamedAttack
from raypipe.defenses.base import CertifiedDefense, StaticTraining
from raypipe.evaluation.protocols import CheckAttack, Protocol, Role
from raypipe.experiment.schema import Experiment
from raypipe.plan.cells import (
    KNOWN,
    STAGES,
    AttackSpec,
    Cell,
    CertifySpec,
    DiagnoseSpec,
    EvaluateSpec,
    HardenSpec,
    IngestSpec,
    Stage,
    TrainSpec,
)


@dataclass(frozen=True)
class Subject:
    """A model under test.

    Parameters
    ----------
    model
        Id of the model in the experiment.
    split, seed
        Split of its training tiles, and seed of its training.
    defense, hardened_on
        Id of the defense, and id of the attack whose tiles it was hardened with. None if there is no defense.
        `hardened_on` is also None if the defense mixes all attacks or uses none of them.
    cell
        Cell that computes it.
    undefended
        Undefended model that it was hardened from. None if it is itself undefended.
    """

    model: str
    split: str
    seed: int
    defense: str | None
    hardened_on: str | None
    cell: Cell
    undefended: "Subject | None" = None

    @property
    def name(self) -> str:
        """Name for people, unique in the plan."""
        return self.cell.name

    @property
    def tiles(self) -> Cell:
        """Cell of the clean tiles."""
        return self.cell.inputs["tiles"]


@dataclass(frozen=True)
class Pairing:
    """A model under test and the tiles that it is tested on.

    Parameters
    ----------
    subject
        The model.
    protocol
        Origin of the tiles: see `raypipe.evaluation.protocols.Protocol`.
    role
        Reason for the test: see `raypipe.evaluation.protocols.Role`.
    predictions
        Cell of its predictions.
    attack, settings
        Id and settings of the attack. None for clean tiles.
    source
        Source model, which the attack ran against. None for clean tiles.
    radii
        Ascending radii of the attack. If empty, the attack has its own settings.
    """

    subject: Subject
    protocol: Protocol
    role: Role
    predictions: Cell
    attack: str | None = None
    settings: NamedAttack | None = None
    source: Subject | None = None
    radii: tuple[float, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All cells of an experiment, each after its inputs, and the records that its results are computed from."""

    cells: tuple[Cell, ...]
    subjects: tuple[Subject, ...]
    pairings: tuple[Pairing, ...]
    diagnostics: tuple[tuple[Subject, Cell], ...]
    certificates: tuple[tuple[Subject, Cell], ...] = ()

    def stage(self, stage: Stage) -> tuple[Cell, ...]:
        """Return the cells of one stage."""
        return tuple(cell for cell in self.cells if cell.stage == stage)


def make_plan(experiment: Experiment, ingests: Sequence[IngestSpec]) -> Plan:
    """Return the plan of an experiment over the tiles that `ingests` describe, one for each of its splits."""
    subjects = [
        subject
        for ingest in ingests
        for seed in experiment.training_seeds
        for subject in _subjects(experiment, Cell("ingest", _named("tiles", experiment, ingest.split), ingest), seed)
    ]
    pairings = [pairing for subject in subjects for pairing in _pairings(experiment, subject, subjects)]
    diagnostics = [(subject, cell) for subject in subjects if (cell := _diagnostics(experiment, subject))]
    certificates = [(subject, cell) for subject in subjects if (cell := _certificates(experiment, subject))]
    needed = [pairing.predictions for pairing in pairings] + [cell for _, cell in (*diagnostics, *certificates)]
    return Plan(tuple(_in_order(needed)), tuple(subjects), tuple(pairings), tuple(diagnostics), tuple(certificates))


def _subjects(experiment: Experiment, tiles: Cell, seed: int) -> Iterator[Subject]:
    """Yield the models trained on one set of tiles with one seed: undefended models, and those hardened from them."""
    split = tiles.spec.split
    for model_id, model in experiment.models.items():
        name = _named(model_id, experiment, split, seed)
        spec = TrainSpec(model=model, recipe=experiment.train, seed=seed)
        clean = Subject(model_id, split, seed, None, None, Cell("train", name, spec, {"tiles": tiles}))
        yield clean
        for defense_id, defense in experiment.defenses.items():
            harden = HardenSpec(defense=defense, recipe=experiment.train, seed=seed)
            inputs = {"tiles": tiles, "model": clean.cell}
            if not isinstance(defense, StaticTraining):
                cell = Cell("harden", f"{name}/{defense_id}", harden, inputs)
                yield Subject(model_id, split, seed, defense_id, None, cell, clean)
                continue
            perturbed_by = {
                attack_id: _attacked(clean, attack_id, AttackSpec(attack=attack.with_early_stop(False), split="train"))
                for attack_id, attack in experiment.attacks.items()
            }
            if defense.mixes_attacks:
                mixture = {f"adversarials {attack_id}": perturbed for attack_id, perturbed in perturbed_by.items()}
                cell = Cell("harden", f"{name}/{defense_id}", harden, {**inputs, **mixture})
                yield Subject(model_id, split, seed, defense_id, None, cell, clean)
                continue
            for attack_id, perturbed in perturbed_by.items():
                cell = Cell("harden", f"{name}/{attack_id}/{defense_id}", harden, {**inputs, "adversarials": perturbed})
                yield Subject(model_id, split, seed, defense_id, attack_id, cell, clean)


def _pairings(experiment: Experiment, subject: Subject, subjects: Sequence[Subject]) -> Iterator[Pairing]:
    """Yield all tests of one model."""
    name, evaluation = subject.name, experiment.evaluation
    clean = Cell("evaluate", f"{name} on clean tiles", EvaluateSpec(split="test"), _inputs(subject, subject.tiles))
    yield Pairing(subject, Protocol.CLEAN, Role.GRID, clean)
    checks = evaluation.check_attacks(experiment.tiles.size)
    attacks: list[tuple[Role, dict[str, NamedAttack]]] = [
        (Role.GRID, experiment.attacks),
        (Role.EVALUATION, evaluation.attacks),
        (Role.CHECK, checks),
    ]
    others = [
        other
        for other in subjects
        if other.undefended is None and (other.split, other.seed) == (subject.split, subject.seed)
        if other.model != subject.model and evaluation.transfer
    ]
    own = Protocol.ADAPTIVE if subject.undefended else Protocol.WHITE_BOX
    for role, chosen in attacks:
        for attack_id, settings in chosen.items():
            sources: list[tuple[Protocol, Subject]] = [(own, subject)]
            if role in (Role.GRID, Role.EVALUATION) or attack_id == CheckAttack.REFERENCE:
                sources += [(Protocol.STATIC, subject.undefended)] if subject.undefended else []
                sources += [(Protocol.TRANSFER, other) for other in others]
            for protocol, source in sources:
                # These tiles are shown to the model itself only, so the attack may stop at its first success.
                attack = settings.with_early_stop(source is subject)
                tiles = _attacked(source, attack_id, AttackSpec(attack=attack, split="test", tiles=evaluation.tiles))
                predictions = Cell(
                    "evaluate", f"{name} on {tiles.name}", EvaluateSpec(split="test"), _inputs(subject, tiles)
                )
                yield Pairing(subject, protocol, role, predictions, attack_id, attack, source)
    yield from _ensembles(experiment, subject)


def _ensembles(experiment: Experiment, subject: Subject) -> Iterator[Pairing]:
    """Yield the tests of one model under AutoAttack on the model itself, in every bounded threat model.

    AutoAttack starts from the results of the other attacks.
    """
    evaluation, name = experiment.evaluation, subject.name

    def attacked(attack_id: str, settings: NamedAttack, radii: tuple[float, ...] = ()) -> Cell:
        attack = settings.with_early_stop(True)
        spec = AttackSpec(attack=attack, split="test", tiles=evaluation.tiles, radii=radii)
        return _attacked(subject, attack_id, spec)

    others = {**experiment.attacks, **evaluation.attacks}
    if reference := evaluation.check_attacks(experiment.tiles.size).get(CheckAttack.REFERENCE):
        others[CheckAttack.REFERENCE] = reference
    known = {f"{KNOWN}{attack_id}": attacked(attack_id, settings) for attack_id, settings in others.items()}
    for attack_id, (settings, radii) in evaluation.ensembles(experiment.attacks).items():
        tiles = attacked(attack_id, settings, radii)
        tiles = replace(tiles, inputs={**tiles.inputs, **known})
        predictions = Cell("evaluate", f"{name} on {tiles.name}", EvaluateSpec(split="test"), _inputs(subject, tiles))
        protocol = Protocol.ADAPTIVE if subject.undefended else Protocol.WHITE_BOX
        yield Pairing(subject, protocol, Role.CURVE, predictions, attack_id, tiles.spec.attack, subject, radii)


def _attacked(victim: Subject, attack_id: str, spec: AttackSpec) -> Cell:
    whole = spec.split == "test" and spec.attack != spec.attack.with_early_stop(True)
    name = f"{victim.name}/{attack_id}/{spec.split}{' (whole budget)' if whole else ''}"
    return Cell("attack", name, spec, {"tiles": victim.tiles, "model": victim.cell})


def _diagnostics(experiment: Experiment, subject: Subject) -> Cell | None:
    evaluation = experiment.evaluation
    if evaluation.checks is None:
        return None
    spec = DiagnoseSpec(
        planted=evaluation.check_attacks(experiment.tiles.size)[CheckAttack.REFERENCE].with_early_stop(True),
        planted_tiles=evaluation.checks.planted_tiles,
        tiles=evaluation.tiles and max(evaluation.tiles, evaluation.checks.planted_tiles),
        seed=experiment.seed,
    )
    return Cell("diagnose", f"{subject.name} diagnosed", spec, _inputs(subject, subject.tiles))


def _certificates(experiment: Experiment, subject: Subject) -> Cell | None:
    defense = experiment.defenses[subject.defense] if subject.defense else None
    if not isinstance(defense, CertifiedDefense):
        return None
    spec = CertifySpec(defense=defense, tiles=experiment.evaluation.tiles, seed=experiment.seed)
    return Cell("certify", f"{subject.name} certified", spec, _inputs(subject, subject.tiles))


def _inputs(subject: Subject, tiles: Cell) -> dict[str, Cell]:
    return {"model": subject.cell, "tiles": tiles}


def _named(name: str, experiment: Experiment, split: str, seed: int | None = None) -> str:
    """Return a name with the split and the seed, if there are several of them."""
    several = [split] if len(experiment.tiles.split) > 1 else []
    several += [f"seed {seed}"] if seed is not None and len(experiment.training_seeds) > 1 else []
    return f"{name} ({', '.join(several)})" if several else name


def _in_order(needed: Iterable[Cell]) -> list[Cell]:
    """Return every needed cell once, after its inputs.

    The order is by stage, except that attacks on hardened models follow the hardening.
    """
    found: dict[str, Cell] = {}

    def visit(cell: Cell) -> None:
        if cell.key not in found:
            for other in cell.inputs.values():
                visit(other)
            found[cell.key] = cell

    def rank(cell: Cell) -> float:
        after_hardening = cell.stage == "attack" and cell.inputs["model"].stage == "harden"
        return STAGES.index("harden") + 0.5 if after_hardening else STAGES.index(cell.stage)

    for cell in needed:
        visit(cell)
    return sorted(found.values(), key=rank)
