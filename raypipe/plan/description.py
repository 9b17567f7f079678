"""Description of a run, from a plan whose cells are finished: everything that its results are computed from later."""

from raypipe.attacks.engine.threat import get_threat_model
from raypipe.data.source import Source
from raypipe.evaluation.results.run import (
    CellRecord,
    CorruptedRecord,
    ExternalRecord,
    PairingRecord,
    Run,
    SubjectRecord,
    UniversalRecord,
    derive_stamps,
)
from raypipe.plan.graph import Plan
from raypipe.plan.pairings import Pairing, Subject
from raypipe.storage.store import Store


def describe_run(name: str, plan: Plan, source: Source, data: str, store: Store, *, paper_tables: bool = False) -> Run:
    """Return the record of a run's models and tests, with the keys of their artifacts.

    Parameters
    ----------
    name
        Name of the run.
    plan
        Plan. Its tiles must have been ingested.
    source, data
        The data set, and the name of its kind.
    store
        Store with the artifacts of the tiles.
    paper_tables
        Setting as in `raypipe.evaluation.results.run.Run`.
    """

    def subject_of(subject: Subject) -> SubjectRecord:
        return SubjectRecord(
            id=subject.name,
            model=subject.model,
            backbone=subject.backbone,
            split=subject.split,
            seed=subject.seed,
            defense=subject.defense,
            hardened_on=subject.hardened_on,
            undefended=subject.undefended.name if subject.undefended else None,
            key=subject.cell.key,
        )

    def pairing_of(pairing: Pairing) -> PairingRecord:
        settings = pairing.settings
        record = settings.model_dump(mode="json") if settings else None
        if record and pairing.radii:
            record["radii"] = list(pairing.radii)
        return PairingRecord(
            subject=pairing.subject.name,
            protocol=pairing.protocol,
            role=pairing.role,
            attack=pairing.attack,
            method=settings.name if settings else None,
            settings=record,
            source=pairing.source.name if pairing.source else None,
            threat=get_threat_model(settings) if settings else None,
            tiles=pairing.predictions.inputs["tiles"].key,
            predictions=pairing.predictions.key,
            after=pairing.after,
        )

    return Run(
        name=name,
        labels=source.labels,
        malignant=source.malignant,
        data=data,
        restriction=source.restriction,
        stamps={cell.spec.split: derive_stamps(cell.manifest(store) or {}, source.restriction) for cell in plan.tiles},
        replicates=plan.exam.evaluation.replicates,
        seed=plan.exam.seed,
        radii=plan.exam.evaluation.list_radii(plan.exam.attacks),
        paper_tables=paper_tables,
        subjects=tuple(subject_of(subject) for subject in plan.subjects),
        pairings=tuple(pairing_of(pairing) for pairing in plan.pairings),
        diagnostics={subject.name: cell.key for subject, cell in plan.diagnostics},
        certificates={subject.name: cell.key for subject, cell in plan.certificates},
        corrupted=tuple(
            CorruptedRecord(
                subject=subject.name, corruption=cell.spec.corruption, levels=cell.spec.levels, key=cell.key
            )
            for subject, cell in plan.corrupted
        ),
        external=tuple(
            ExternalRecord(
                subject=test.subject.name,
                set_id=test.set_id,
                labels=plan.exam.evaluation.external[test.set_id].labels,
                tiles=test.predictions.inputs["tiles"].key,
                predictions=test.predictions.key,
                overlap=test.overlap.key if test.overlap else None,
            )
            for test in plan.external
        ),
        universal=tuple(
            UniversalRecord(
                subject=test.subject.name,
                source=test.source.name,
                norm=test.predictions.inputs["pattern"].spec.universal.norm,
                eps=test.predictions.inputs["pattern"].spec.universal.eps,
                tiles=test.subject.tiles.key,
                pattern=test.predictions.inputs["pattern"].key,
                key=test.predictions.key,
            )
            for test in plan.universal
        ),
        cells=tuple(
            CellRecord(stage=cell.stage, name=cell.name, model=cell.model, kind=cell.kind, key=cell.key)
            for cell in plan.cells
        ),
    )
