"""Models under test, and the tests of each: pairs of a model and the tiles that it is tested on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from raypipe.attacks.base import NamedAttack
from raypipe.corruptions import CORRUPTIONS
from raypipe.evaluation.protocols import CheckAttack, Protocol, Role
from raypipe.evaluation.settings import Evaluation
from raypipe.plan.cells import (
    EARLIER,
    AttackSpec,
    Cell,
    CorruptSpec,
    DiagnoseSpec,
    EvaluateSpec,
    ImportSpec,
    OverlapSpec,
    PatternSpec,
    PerturbSpec,
)


@dataclass(frozen=True)
class Subject:
    """A model under test.

    Parameters
    ----------
    model
        Id of the model in the experiment, or the name of a model that is only tested.
    split, seed
        Split of its training tiles, and seed of its training.
    defense, hardened_on
        Id of the defense, and id of the attack whose tiles it was hardened with. None if there is no defense.
        `hardened_on` is also None if the defense mixes all attacks or uses none of them.
    cell
        Cell that computes it.
    tiles
        Cell of the clean tiles.
    undefended
        Undefended model that it was hardened from. None if it is itself undefended.
    """

    model: str
    split: str
    seed: int
    defense: str | None
    hardened_on: str | None
    cell: Cell
    tiles: Cell
    undefended: "Subject | None" = None

    @property
    def name(self) -> str:
        """Name for people, unique in the plan."""
        return self.cell.name

    @property
    def backbone(self) -> str:
        """Name of its backbone, or the kind of its file."""
        spec = (self.undefended or self).cell.spec
        return str(spec.form if isinstance(spec, ImportSpec) else spec.model.name)


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
    after
        Id of the attack whose fooled tiles this attack skips; None if it runs on all tiles.
    """

    subject: Subject
    protocol: Protocol
    role: Role
    predictions: Cell
    attack: str | None = None
    settings: NamedAttack | None = None
    source: Subject | None = None
    radii: tuple[float, ...] = ()
    after: str | None = None


@dataclass(frozen=True)
class ExternalTest:
    """A model under test and an external test set.

    Parameters
    ----------
    subject
        The model.
    set_id
        Id of the set.
    predictions
        Cell of its predictions.
    overlap
        Cell that searches the set for siblings of the model's training tiles; None if these are unknown.
    """

    subject: Subject
    set_id: str
    predictions: Cell
    overlap: Cell | None


@dataclass(frozen=True)
class UniversalTest:
    """A model under test, and the model whose universal perturbation it is shown.

    Parameters
    ----------
    subject, source
        The model under test, and the model that the pattern is made for.
    predictions
        Cell of the predictions.
    """

    subject: Subject
    source: Subject
    predictions: Cell


@dataclass(frozen=True)
class Examination:
    """Settings of the tests, the same for every model.

    Parameters
    ----------
    attacks
        Attacks of the grid, by id. Static evaluation and hardening use them too.
    evaluation
        Further attacks and the sanity checks.
    size
        Height and width of the tiles in pixels.
    seed
        Seed of the diagnostics.
    """

    attacks: Mapping[str, NamedAttack]
    evaluation: Evaluation
    size: int
    seed: int


def list_pairings(subject: Subject, subjects: Sequence[Subject], exam: Examination) -> Iterator[Pairing]:
    """Yield all tests of one of several models."""
    name, evaluation = subject.name, exam.evaluation
    clean = Cell(
        "evaluate", f"{name} on clean tiles", EvaluateSpec(split="test"), collect_inputs(subject, subject.tiles)
    )
    yield Pairing(subject, Protocol.CLEAN, Role.GRID, clean)
    checks, after_reference = evaluation.check_attacks(exam.size), evaluation.list_checks_after_reference(exam.attacks)
    attacks: list[tuple[Role, Mapping[str, NamedAttack]]] = [
        (Role.GRID, exam.attacks),
        (Role.EVALUATION, evaluation.attacks),
        (Role.QUERIES, evaluation.queries.runs() if evaluation.queries else {}),
        (Role.CHECK, checks),
    ]
    others = [
        other
        for other in subjects
        if other.undefended is None and (other.split, other.seed) == (subject.split, subject.seed)
        if other.model != subject.model and evaluation.transfer
    ]
    protocol_on_itself = Protocol.ADAPTIVE if subject.undefended else Protocol.WHITE_BOX
    for role, role_attacks in attacks:
        for attack_id, settings in role_attacks.items():
            sources: list[tuple[Protocol, Subject]] = [(protocol_on_itself, subject)]
            if role in (Role.GRID, Role.EVALUATION) or attack_id == CheckAttack.REFERENCE:
                sources += [(Protocol.STATIC, subject.undefended)] if subject.undefended else []
                sources += [(Protocol.TRANSFER, other) for other in others]
            for protocol, source in sources:
                # These tiles are shown to the model itself only, so the attack may stop at its first success.
                attack = settings.with_early_stop(source is subject)
                tiles = attack_cell(source, attack_id, AttackSpec(attack=attack, split="test", tiles=evaluation.tiles))
                after = CheckAttack.REFERENCE if role == Role.CHECK and attack_id in after_reference else None
                if after:
                    tiles = _skip_fooled(tiles, checks, (after,), subject, evaluation)
                predictions = Cell(
                    "evaluate", f"{name} on {tiles.name}", EvaluateSpec(split="test"), collect_inputs(subject, tiles)
                )
                yield Pairing(subject, protocol, role, predictions, attack_id, attack, source, after=after)
    yield from _list_ensembles(subject, exam)


def _list_ensembles(subject: Subject, exam: Examination) -> Iterator[Pairing]:
    """Yield the tests of one model under AutoAttack on the model itself, in every bounded threat model.

    AutoAttack starts from the results of the other attacks.
    """
    evaluation, name = exam.evaluation, subject.name

    others = {**exam.attacks, **evaluation.attacks}
    if reference := evaluation.check_attacks(exam.size).get(CheckAttack.REFERENCE):
        others[CheckAttack.REFERENCE] = reference
    for attack_id, (settings, radii) in evaluation.list_ensembles(exam.attacks).items():
        attack = settings.with_early_stop(True)
        spec = AttackSpec(attack=attack, split="test", tiles=evaluation.tiles, radii=radii)
        tiles = _skip_fooled(attack_cell(subject, attack_id, spec), others, others, subject, evaluation)
        predictions = Cell(
            "evaluate", f"{name} on {tiles.name}", EvaluateSpec(split="test"), collect_inputs(subject, tiles)
        )
        protocol = Protocol.ADAPTIVE if subject.undefended else Protocol.WHITE_BOX
        yield Pairing(subject, protocol, Role.CURVE, predictions, attack_id, tiles.spec.attack, subject, radii)


def _skip_fooled(
    tiles: Cell, attacks: Mapping[str, NamedAttack], earlier: Iterable[str], subject: Subject, evaluation: Evaluation
) -> Cell:
    """Return a cell of an attack that starts from the results of earlier attacks on the model, by their ids."""
    specs = {
        attack_id: AttackSpec(attack=attacks[attack_id].with_early_stop(True), split="test", tiles=evaluation.tiles)
        for attack_id in earlier
    }
    known = {f"{EARLIER}{attack_id}": attack_cell(subject, attack_id, spec) for attack_id, spec in specs.items()}
    return replace(tiles, inputs={**tiles.inputs, **known})


def attack_cell(victim: Subject, attack_id: str, spec: AttackSpec) -> Cell:
    """Return the cell of an attack on a model."""
    whole = spec.split == "test" and spec.attack != spec.attack.with_early_stop(True)
    name = f"{victim.name}/{attack_id}/{spec.split}{' (whole budget)' if whole else ''}"
    return Cell("attack", name, spec, {"tiles": victim.tiles, "model": victim.cell})


def find_diagnostics(subject: Subject, exam: Examination) -> Cell | None:
    """Return the cell of a model's diagnostics; None without sanity checks."""
    evaluation = exam.evaluation
    if evaluation.checks is None:
        return None
    spec = DiagnoseSpec(
        planted=evaluation.check_attacks(exam.size)[CheckAttack.REFERENCE].with_early_stop(True),
        planted_tiles=evaluation.checks.planted_tiles,
        tiles=evaluation.tiles and max(evaluation.tiles, evaluation.checks.planted_tiles),
        seed=exam.seed,
    )
    return Cell("diagnose", f"{subject.name} diagnosed", spec, collect_inputs(subject, subject.tiles))


def list_corrupted(subject: Subject, exam: Examination) -> Iterator[Cell]:
    """Yield a cell for each corruption that a model is tested on."""
    for name in exam.evaluation.corruptions:
        levels = CORRUPTIONS[name].levels
        spec = CorruptSpec(corruption=name, levels=levels, tiles=exam.evaluation.tiles, seed=exam.seed)
        yield Cell("corrupt", f"{subject.name} under {name}", spec, collect_inputs(subject, subject.tiles))


def list_external_tests(subject: Subject, external: Mapping[str, Cell]) -> Iterator[ExternalTest]:
    """Yield the tests of a model on external test sets, from the cells of their tiles by id."""
    trained = not isinstance(subject.cell.spec, ImportSpec)
    for set_id, tiles in external.items():
        overlap = Cell(
            "overlap",
            f"siblings of {tiles.name} in {subject.tiles.name}",
            OverlapSpec(),
            {"tiles": subject.tiles, "external": tiles},
        )
        predictions = Cell(
            "evaluate", f"{subject.name} on {tiles.name}", EvaluateSpec(split="test"), collect_inputs(subject, tiles)
        )
        yield ExternalTest(subject, set_id, predictions, overlap if trained else None)


def list_universal_tests(subject: Subject, subjects: Sequence[Subject], exam: Examination) -> Iterator[UniversalTest]:
    """Yield the tests of a model with the universal perturbations of the models that share its training tiles."""
    evaluation = exam.evaluation
    if evaluation.universal is None:
        return
    for source in subjects:
        together = (source.split, source.seed) == (subject.split, subject.seed)
        if not together or not (evaluation.transfer or source is subject):
            continue
        spec = PatternSpec(universal=evaluation.universal, seed=exam.seed)
        pattern = Cell("pattern", f"{source.name}/universal", spec, collect_inputs(source, source.tiles))
        predictions = Cell(
            "perturb",
            f"{subject.name} with the pattern of {source.name}",
            PerturbSpec(tiles=evaluation.tiles),
            {**collect_inputs(subject, subject.tiles), "pattern": pattern},
        )
        yield UniversalTest(subject, source, predictions)


def collect_inputs(subject: Subject, tiles: Cell) -> dict[str, Cell]:
    """Return the inputs of a cell that shows tiles to a model."""
    return {"model": subject.cell, "tiles": tiles}
