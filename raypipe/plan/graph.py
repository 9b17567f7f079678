"""Graph of cells: the models of an experiment, or one finished model, and all cells that their tests need."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from raypipe.defenses.base import CertifiedDefense, StaticTraining
from raypipe.defenses.online import OnlineTraining
from raypipe.evaluation.results.run import GIVEN
from raypipe.experiment.schema import Experiment
from raypipe.plan.cells import (
    STAGES,
    AttackSpec,
    Cell,
    CertifySpec,
    HardenSpec,
    ImportSpec,
    IngestSpec,
    Stage,
    TrainSpec,
)
from raypipe.plan.pairings import (
    Examination,
    ExternalTest,
    Pairing,
    Subject,
    UniversalTest,
    attack_cell,
    collect_inputs,
    find_diagnostics,
    list_corrupted,
    list_external_tests,
    list_pairings,
    list_universal_tests,
)


@dataclass(frozen=True)
class Plan:
    """All cells, each after its inputs, and the models and tests that results are computed from."""

    cells: tuple[Cell, ...]
    subjects: tuple[Subject, ...]
    pairings: tuple[Pairing, ...]
    diagnostics: tuple[tuple[Subject, Cell], ...]
    certificates: tuple[tuple[Subject, Cell], ...]
    corrupted: tuple[tuple[Subject, Cell], ...]
    external: tuple[ExternalTest, ...]
    universal: tuple[UniversalTest, ...]
    exam: Examination

    @property
    def tiles(self) -> tuple[Cell, ...]:
        """Cells of the tiles that models are trained or tested on, one for each split, without external test sets."""
        return tuple({subject.tiles.key: subject.tiles for subject in self.subjects}.values())

    @property
    def external_tiles(self) -> dict[str, Cell]:
        """Cell of the tiles of each external test set, by its id."""
        return {test.set_id: test.predictions.inputs["tiles"] for test in self.external}

    def stage(self, stage: Stage) -> tuple[Cell, ...]:
        """Return the cells of one stage."""
        return tuple(cell for cell in self.cells if cell.stage == stage)


def make_plan(
    experiment: Experiment, ingests: Sequence[IngestSpec], external: Mapping[str, IngestSpec] = MappingProxyType({})
) -> Plan:
    """Return the plan of an experiment.

    Parameters
    ----------
    experiment
        The experiment.
    ingests
        Settings of its tiles, one for each of its splits.
    external
        Settings of the tiles of its external test sets, by id.
    """
    subjects = [
        subject
        for ingest in ingests
        for seed in experiment.training_seeds
        for subject in _list_subjects(
            experiment, Cell("ingest", _name_variant("tiles", experiment, ingest.split), ingest), seed
        )
    ]
    exam = Examination(experiment.attacks, experiment.evaluation, experiment.tiles.size, experiment.seed)
    certificates = [(subject, cell) for subject in subjects if (cell := _build_certificates(experiment, subject))]
    return _plan_tests(subjects, exam, external, certificates)


def plan_evaluation(
    name: str,
    model: ImportSpec,
    tiles: IngestSpec,
    exam: Examination,
    external: Mapping[str, IngestSpec] = MappingProxyType({}),
) -> Plan:
    """Return the plan that tests one finished model on tiles that are only test tiles.

    Parameters
    ----------
    name
        Name of the model in the results.
    model
        The model.
    tiles
        Tiles that the cells read.
    exam
        Attacks and evaluation.
    external
        External test sets, by id.
    """
    ingest = Cell("ingest", "tiles", tiles)
    subject = Subject(name, GIVEN, 0, None, None, Cell("import", name, model), ingest)
    return _plan_tests([subject], exam, external)


def _plan_tests(
    subjects: Sequence[Subject],
    exam: Examination,
    external: Mapping[str, IngestSpec],
    certificates: Sequence[tuple[Subject, Cell]] = (),
) -> Plan:
    """Return the plan of all tests of models, and of everything that these need."""
    elsewhere = {set_id: Cell("ingest", f"tiles of {set_id}", spec) for set_id, spec in external.items()}
    external_pairs = [test for subject in subjects for test in list_external_tests(subject, elsewhere)]
    pairings = [pairing for subject in subjects for pairing in list_pairings(subject, subjects, exam)]
    diagnostics = [(subject, cell) for subject in subjects if (cell := find_diagnostics(subject, exam))]
    corrupted = [(subject, cell) for subject in subjects for cell in list_corrupted(subject, exam)]
    examined = [cell for _, cell in (*diagnostics, *certificates, *corrupted)]
    universal = [test for subject in subjects for test in list_universal_tests(subject, subjects, exam)]
    examined += [test.predictions for test in universal]
    examined += [cell for test in external_pairs for cell in (test.overlap, test.predictions) if cell is not None]
    return Plan(
        tuple(_put_in_order([*(pairing.predictions for pairing in pairings), *examined])),
        tuple(subjects),
        tuple(pairings),
        tuple(diagnostics),
        tuple(certificates),
        tuple(corrupted),
        tuple(external_pairs),
        tuple(universal),
        exam,
    )


def _list_subjects(experiment: Experiment, tiles: Cell, seed: int) -> Iterator[Subject]:
    """Yield the models trained on one set of tiles with one seed: undefended models, and those hardened from them."""
    split = tiles.spec.split
    for model_id, model in experiment.models.items():
        name = _name_variant(model_id, experiment, split, seed)
        spec = TrainSpec(model=model, recipe=experiment.train, seed=seed)
        clean = Subject(model_id, split, seed, None, None, Cell("train", name, spec, {"tiles": tiles}), tiles)
        yield clean
        for defense_id, defense in experiment.defenses.items():
            harden = HardenSpec(defense=defense, recipe=experiment.train, seed=seed)
            if isinstance(defense, OnlineTraining) and (defense.search or defense.early_stopping == "reported"):
                judged_tiles = defense.search.tiles if defense.search else None
                judged = {"judge": experiment.evaluation.judge(), "judged_tiles": judged_tiles}
                harden = harden.model_copy(update=judged)
            inputs = {"tiles": tiles, "model": clean.cell}
            if not isinstance(defense, StaticTraining):
                cell = Cell("harden", f"{name}/{defense_id}", harden, inputs)
                yield Subject(model_id, split, seed, defense_id, None, cell, tiles, clean)
                continue
            perturbed_by = {
                attack_id: attack_cell(
                    clean, attack_id, AttackSpec(attack=attack.with_early_stop(False), split="train")
                )
                for attack_id, attack in experiment.attacks.items()
            }
            if defense.mixes_attacks:
                mixture = {f"adversarials {attack_id}": perturbed for attack_id, perturbed in perturbed_by.items()}
                cell = Cell("harden", f"{name}/{defense_id}", harden, {**inputs, **mixture})
                yield Subject(model_id, split, seed, defense_id, None, cell, tiles, clean)
                continue
            for attack_id, perturbed in perturbed_by.items():
                cell = Cell("harden", f"{name}/{attack_id}/{defense_id}", harden, {**inputs, "adversarials": perturbed})
                yield Subject(model_id, split, seed, defense_id, attack_id, cell, tiles, clean)


def _build_certificates(experiment: Experiment, subject: Subject) -> Cell | None:
    defense = experiment.defenses[subject.defense] if subject.defense else None
    if not isinstance(defense, CertifiedDefense):
        return None
    spec = CertifySpec(defense=defense, tiles=experiment.evaluation.tiles, seed=experiment.seed)
    return Cell("certify", f"{subject.name} certified", spec, collect_inputs(subject, subject.tiles))


def _name_variant(name: str, experiment: Experiment, split: str, seed: int | None = None) -> str:
    """Return a name with the split and the seed, if there are several of them."""
    parts = [split] if len(experiment.tiles.split) > 1 else []
    parts += [f"seed {seed}"] if seed is not None and len(experiment.training_seeds) > 1 else []
    return f"{name} ({', '.join(parts)})" if parts else name


def _put_in_order(required: Iterable[Cell]) -> list[Cell]:
    """Return every needed cell once, after its inputs.

    The order is by stage, except that attacks on hardened models follow the hardening.
    """
    ordered: dict[str, Cell] = {}

    def visit(cell: Cell) -> None:
        if cell.key not in ordered:
            for input_cell in cell.inputs.values():
                visit(input_cell)
            ordered[cell.key] = cell

    def rank(cell: Cell) -> float:
        after_hardening = cell.stage == "attack" and cell.inputs["model"].stage == "harden"
        return STAGES.index("harden") + 0.5 if after_hardening else STAGES.index(cell.stage)

    for cell in required:
        visit(cell)
    return sorted(ordered.values(), key=rank)
