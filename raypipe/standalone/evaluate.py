"""The evaluation of one model on one set of tiles, with the same tables, figures and sanity checks as a run."""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.cascade import generate_over_radii
from raypipe.attacks.engine.norms import BoundedAttack, at_radius
from raypipe.attacks.engine.prepare import PreparedModel
from raypipe.attacks.engine.threat import get_threat_model
from raypipe.attacks.engine.victim import freeze
from raypipe.data.subset import choose_subset
from raypipe.data.tiles import decode_images
from raypipe.evaluation.checks.diagnostics import diagnose_tiles, tabulate_diagnostics
from raypipe.evaluation.predict import predict
from raypipe.evaluation.protocols import CheckAttack, Protocol, Role
from raypipe.evaluation.results.compute import RunResult, compute_result, serialize_result
from raypipe.evaluation.results.run import (
    GIVEN,
    CellRecord,
    PairingRecord,
    Run,
    SubjectRecord,
    record_settings,
    stamps,
    write_run,
)
from raypipe.evaluation.results.tables import parse_adversarials, tabulate_adversarials, tabulate_predictions
from raypipe.evaluation.settings import Evaluation
from raypipe.plan.cells import KINDS, VERSIONS, Stage
from raypipe.standalone.attack import ready
from raypipe.standalone.models import GivenModel
from raypipe.standalone.tiles import GivenTiles
from raypipe.storage.costs import Cost
from raypipe.storage.environment import describe_environment, write_environment
from raypipe.storage.store import Store

RESULTS_FILE, PART = "results.json", "part-00000.parquet"
TEST_PART = f"test/{PART}"
SAME = 1e-3
"""Largest difference of a model's logits between devices and batch sizes, as a share of their range."""
Say = Callable[[str], None]
Made = tuple[dict[str, pa.Table], dict[str, Any]]
"""Contents of an artifact: its tables by their paths in it, and the facts of its manifest."""


def evaluate_model(
    model: GivenModel,
    tiles: GivenTiles,
    settings: Evaluation,
    store: Store,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    say: Say = lambda _: None,
) -> RunResult:
    """Run every attack in `settings` on a model, check the attacks, and store everything as a run in `store`.

    Parameters
    ----------
    model, tiles
        Model to evaluate, and tiles to evaluate it on.
    settings
        Settings as in the section ``evaluation`` of an experiment; `tiles` and `transfer` do not apply.
    store
        An empty store, or the store of an earlier call, whose finished results are reused.
    batch_size
        Tiles per pass; default: found by trial.
    seed
        Seed of the calibration error's bootstrap and of the planted examples.
    say
        Receives the name of the current step.

    Raises
    ------
    FileExistsError
        If the store belongs to another model with the same state.
    ValueError
        If the model does not fit the tiles.
    """
    name = run_name(model.name)
    work = _Work(model, tiles, ready(model.network, tiles, batch_size), store, say)
    with freeze(model.network):
        pairings, diagnostics = _test(work, name, settings, seed)
    run = Run(
        name=name,
        labels=tiles.labels,
        malignant=tiles.malignant,
        stamps={GIVEN: stamps(work.about_tiles, tiles.restriction)},
        restriction=tiles.restriction,
        replicates=settings.replicates,
        seed=seed,
        radii=settings.radii({}),
        subjects=(_subject(name, model),),
        pairings=pairings,
        diagnostics={name: diagnostics} if diagnostics else {},
        cells=tuple(work.cells),
    )
    write_run(store, run)
    asked = {"name": name, "model": model.kind, "evaluation": settings.model_dump(mode="json"), "seed": seed}
    store.write_bytes(f"runs/{name}/experiment.yaml", yaml.safe_dump(asked, sort_keys=False).encode())
    write_environment(store, name, describe_environment(1, {"CPU": float(os.cpu_count() or 1)}))
    result = compute_result(store, run)
    store.write_bytes(f"runs/{name}/{RESULTS_FILE}", serialize_result(result).encode())
    return result


def _test(work: "_Work", name: str, settings: Evaluation, seed: int) -> tuple[tuple[PairingRecord, ...], str | None]:
    """Run all tests of the model; return their records, and the key of the diagnostics or None without checks."""
    tiles_key = work.keep_tiles()
    work.require_same_model()
    clean = work.predict(f"{work.store.artifact('tiles', tiles_key)}/{TEST_PART}", tiles_key, "clean tiles")
    pairings = [
        PairingRecord(subject=name, protocol=Protocol.CLEAN, role=Role.GRID, tiles=work.tiles_key, predictions=clean)
    ]
    pairings += [work.attack(name, Role.EVALUATION, *attack) for attack in settings.attacks.items()]
    checks = settings.check_attacks(work.tiles.images.shape[1])
    pairings += [work.attack(name, Role.CHECK, *attack) for attack in checks.items()]
    known = [
        pairing.tiles
        for pairing in pairings
        if pairing.role == Role.EVALUATION or pairing.attack == CheckAttack.REFERENCE
    ]
    pairings += [
        work.attack(name, Role.CURVE, attack_id, attack, radii=radii, known=known)
        for attack_id, (attack, radii) in settings.ensembles({}).items()
    ]
    if settings.checks is None:
        return tuple(pairings), None
    reference = at_radius(settings.bounded, settings.checks.eps, settings.bounded.norm).with_early_stop(True)
    return tuple(pairings), work.diagnose(reference, settings.checks.planted_tiles, seed)


def run_name(model: str) -> str:
    """Return a valid run name for a model's name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", model).lstrip("_.-") or "model"


def _subject(name: str, model: GivenModel) -> SubjectRecord:
    return SubjectRecord(id=name, model=name, backbone=model.kind, split=GIVEN, seed=0, defense=None, hardened_on=None,
                         undefended=None, key=model.key)  # fmt: skip


@dataclass
class _Work:
    """The artifacts of a run, each made once and stored under a content key."""

    model: GivenModel
    tiles: GivenTiles
    prepared: PreparedModel
    store: Store
    say: Say
    cells: list[CellRecord] = field(default_factory=list)

    @cached_property
    def tiles_key(self) -> str:
        """The content key of the clean tiles and their labels, groups and paths."""
        said = self.tiles.table.select(["label", "label_name", "group_id", "source_path"]).to_pydict()
        content = hashlib.sha256(self.tiles.images.tobytes()).hexdigest()
        return _key("ingest", {"content": content, "classes": self.tiles.labels, **said})

    @property
    def about_tiles(self) -> dict[str, Any]:
        """The facts in the manifest of the clean tiles."""
        return {"split": GIVEN, "synthetic": self.tiles.synthetic, "leakage": None}

    def keep(self, stage: Stage, key: str, name: str, make: Callable[[], Made]) -> None:
        """Publish an artifact unless an earlier call, or another name in this call, has already published it."""
        kind = KINDS[stage]
        if not any(cell.key == key for cell in self.cells):
            self.cells.append(CellRecord(stage=stage, name=name, model=self.model.name, kind=kind, key=key))
        if self.store.manifest(kind, key) is None:
            tables, facts = make()
            for path, table in tables.items():
                self.store.write_table(f"{self.store.artifact(kind, key)}/{path}", table)
            self.store.publish(kind, key, {"stage": stage, "name": name, **facts})

    def table(self, kind: str, key: str) -> pa.Table:
        """Return the only table of an artifact of the model."""
        return self.store.read_table(f"{self.store.artifact(kind, key)}/{PART}")

    def keep_tiles(self) -> str:
        """Store the clean tiles as an artifact, and return its key."""
        tables = {TEST_PART: self.tiles.table, f"rejected/{PART}": self.tiles.rejected}
        self.keep("ingest", self.tiles_key, "tiles", lambda: (tables, self.about_tiles))
        return self.tiles_key

    def predict(self, shard: str, tiles_key: str, name: str) -> str:
        """Store the model's logits of stored tiles as an artifact, and return its key."""

        def make() -> Made:
            images = decode_images(self.store.read_table(shard))
            begun = time.perf_counter()
            logits = predict(self.model.network, images, self.prepared.batch_size, self.prepared.device)
            cost = Cost(forwards=len(images), seconds=time.perf_counter() - begun, device=self.prepared.device.type)
            table = tabulate_predictions(self.tiles.table, logits, self.model.key, tiles_key)
            return {PART: table}, {"cost": cost.facts()}

        key = _key("evaluate", {"model": self.model.key, "tiles": tiles_key})
        self.keep("evaluate", key, f"on {name}", make)
        return key

    def require_same_model(self) -> None:
        """Raise an error if another model gave the stored results: a key covers a module's state, but not its code.

        Raises
        ------
        FileExistsError
            If an earlier call's model of the same state gave other logits of the clean tiles.
        """
        key = _key("evaluate", {"model": self.model.key, "tiles": self.tiles_key})
        if self.store.manifest("predictions", key) is None:
            return
        stored = self.table("predictions", key)
        before = np.array(stored["logits"].to_pylist(), dtype=np.float32)
        now = predict(self.model.network, self.tiles.images, self.prepared.batch_size, self.prepared.device)
        if not np.allclose(now, before, rtol=0, atol=SAME * max(1.0, float(np.ptp(before))), equal_nan=True):
            raise FileExistsError(
                f"{self.store.root} holds what another {self.model.name!r} gave, whose logits of these tiles differ: "
                "give the name of a new folder"
            )

    def attack(
        self,
        subject: str,
        role: Role,
        attack_id: str,
        settings: NamedAttack,
        *,
        radii: Sequence[float] = (),
        known: Sequence[str] = (),
    ) -> PairingRecord:
        """Attack the model, and return the record; the same attack under another name is not computed again.

        An attack at several `radii` starts from the results in the artifacts `known`.
        """
        settings = settings.with_early_stop(True)  # the tiles are shown to no other model
        attack = record_settings(settings, radii)

        def make() -> Made:
            self.say(f"attack: {attack_id}")
            found = [parse_adversarials(self.table("adversarials", key)) for key in known]
            made = generate_over_radii(self.prepared, self.tiles.images, self.tiles.truth, settings, radii, found)
            table = tabulate_adversarials(self.tiles.table, made)
            return {PART: table}, {"cost": self.cost(table, float(made.seconds.sum()))}

        about = {"model": self.model.key, "tiles": self.tiles_key, "attack": attack, "known": list(known)}
        key = _key("attack", about)
        self.keep("attack", key, attack_id, make)
        return PairingRecord(
            subject=subject,
            protocol=Protocol.WHITE_BOX,
            role=role,
            attack=attack_id,
            method=settings.name,
            settings=attack,
            source=subject,
            threat=get_threat_model(settings),
            tiles=key,
            predictions=self.predict(f"{self.store.artifact('adversarials', key)}/{PART}", key, attack_id),
        )

    def cost(self, table: pa.Table, seconds: float) -> dict[str, Any]:
        """Return the cost of an artifact, with the passes summed over its table."""
        passes = {name: int(table[name].to_numpy().sum()) for name in ("forwards", "backwards")}
        return Cost(**passes, seconds=seconds, device=self.prepared.device.type).facts()

    def diagnose(self, reference: BoundedAttack, count: int, seed: int) -> str:
        """Diagnose the model, search for planted examples on `count` tiles, and return the key of the diagnostics."""
        planted = choose_subset(self.tiles.truth.tolist(), self.tiles.groups, count, seed)

        def make() -> Made:
            self.say("diagnose: gradients, repeated passes, planted adversarial examples")
            begun = time.perf_counter()
            made = diagnose_tiles(
                self.model.network,
                self.tiles.images,
                self.tiles.truth,
                reference,
                np.array(planted, dtype=np.int64),
                batch_size=max(2, self.prepared.batch_size),
                device=self.prepared.device,
                seed=seed,
            )
            table = tabulate_diagnostics(self.tiles.table, made)
            return {PART: table}, {"cost": self.cost(table, time.perf_counter() - begun)}

        attack = reference.model_dump(mode="json")
        about = {"model": self.model.key, "tiles": self.tiles_key, "attack": attack, "planted": planted, "seed": seed}
        key = _key("diagnose", about)
        self.keep("diagnose", key, "diagnosed", make)
        return key


def _key(stage: Stage, about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([stage, VERSIONS[stage], about], sort_keys=True).encode()).hexdigest()[:20]
