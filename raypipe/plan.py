"""From an experiment to its cells: what must be computed, from what, and under which content key.

A cell's key is a hash of its stage's version, its own settings and its inputs' keys. Changing one attack's parameter
therefore changes the keys of that attack's cells and of what is computed from them, and of nothing else.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from raypipe.attacks import AttackSettings
from raypipe.config import Experiment
from raypipe.defenses import DefenseSettings
from raypipe.models.classifier import Model
from raypipe.settings import Settings
from raypipe.store import Store
from raypipe.training.recipe import Recipe

Stage = Literal["ingest", "train", "attack", "harden", "evaluate"]
Split = Literal["train", "test"]

VERSIONS: dict[Stage, int] = {"ingest": 1, "train": 1, "attack": 2, "harden": 1, "evaluate": 1}
"""Raised when a stage computes something else from the same settings: what it computed before is then computed anew."""

KINDS: dict[Stage, str] = {
    "ingest": "tiles",
    "train": "model",
    "attack": "adversarials",
    "harden": "model",
    "evaluate": "predictions",
}


class IngestSpec(Settings):
    """What determines a set of tiles: the content of the source, not where it lies."""

    fingerprint: str
    labels: tuple[str, ...]
    size: int
    split: Literal["group", "paper"]
    assignment: str
    shard_size: int
    seed: int


class TrainSpec(Settings):
    """What determines a clean model, besides its tiles."""

    model: Model
    recipe: Recipe
    seed: int


class AttackSpec(Settings):
    """What determines adversarial tiles, besides the clean tiles and the victim."""

    attack: AttackSettings
    split: Split


class HardenSpec(Settings):
    """What determines a hardened model, besides the clean model and the clean and perturbed training tiles.

    `held_out` is the share of training groups that a candidate of a search does not train on, but is judged by.
    """

    defense: DefenseSettings
    recipe: Recipe
    seed: int
    held_out: float = 0.0


class EvaluateSpec(Settings):
    """What determines predictions, besides the model and the tiles."""

    split: Split


Spec = IngestSpec | TrainSpec | AttackSpec | HardenSpec | EvaluateSpec


@dataclass(frozen=True)
class Cell:
    """One unit of work and the artifact it makes.

    Parameters
    ----------
    stage
        Which stage computes it.
    name
        For people: unique within the plan, as ``resnet18/deepfool/test``.
    spec
        Its own settings.
    inputs
        The cells whose artifacts it reads, by role.
    """

    stage: Stage
    name: str
    spec: Any
    inputs: dict[str, "Cell"] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind of its artifact."""
        return KINDS[self.stage]

    @cached_property
    def key(self) -> str:
        """The content key of its artifact: 20 hexadecimal digits."""
        determinants = {
            "stage": self.stage,
            "version": VERSIONS[self.stage],
            "spec": self.spec.model_dump(mode="json"),
            "inputs": {role: cell.key for role, cell in self.inputs.items()},
        }
        return hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()[:20]

    def manifest(self, store: Store) -> dict[str, Any] | None:
        """What its artifact says of itself; None as long as it is still to do."""
        return store.manifest(self.kind, self.key)

    def publish(self, store: Store, **facts: Any) -> None:
        """Make its artifact exist, with what determined it written down."""
        store.publish(
            self.kind,
            self.key,
            {
                "stage": self.stage,
                "name": self.name,
                "spec": self.spec.model_dump(mode="json"),
                "inputs": {role: cell.key for role, cell in self.inputs.items()},
                **facts,
            },
        )


@dataclass(frozen=True)
class GridCell:
    """One (backbone, attack, defense) of the grid and the predictions that the paper's columns are computed from.

    Parameters
    ----------
    model, attack, defense
        Their ids in the experiment.
    columns
        ``normal``, ``attacked``, ``robust_on_normal``, ``robust_on_perturbed`` -> the cell of those predictions.
    """

    model: str
    attack: str
    defense: str | None
    columns: dict[str, Cell]


@dataclass(frozen=True)
class Plan:
    """All cells of an experiment, every one after its inputs, and the grid that its tables show."""

    cells: tuple[Cell, ...]
    grid: tuple[GridCell, ...]

    def stage(self, stage: Stage) -> tuple[Cell, ...]:
        """The cells of one stage."""
        return tuple(cell for cell in self.cells if cell.stage == stage)

    @property
    def tiles(self) -> Cell:
        """The one cell that ingests."""
        return self.cells[0]


def make_plan(experiment: Experiment, ingest: IngestSpec) -> Plan:
    """The cells of an experiment over the tiles that `ingest` describes."""
    tiles = Cell("ingest", "tiles", ingest)
    grid: list[GridCell] = []
    for model_id, model in experiment.models.items():
        clean = Cell(
            "train", model_id, TrainSpec(model=model, recipe=experiment.train, seed=experiment.seed), {"tiles": tiles}
        )
        normal = _predictions(f"{model_id} on clean tiles", clean, tiles)
        for attack_id, attack in experiment.attacks.items():
            name = f"{model_id}/{attack_id}"
            adversarial = {
                split: Cell(
                    "attack",
                    f"{name}/{split}",
                    AttackSpec(attack=attack, split=split),
                    {"tiles": tiles, "model": clean},
                )
                for split in (("train", "test") if experiment.defenses else ("test",))
            }
            columns = {"normal": normal, "attacked": _predictions(f"{model_id} on {name}", clean, adversarial["test"])}
            if not experiment.defenses:
                grid.append(GridCell(model_id, attack_id, None, columns))
            for defense_id, defense in experiment.defenses.items():
                robust = Cell(
                    "harden",
                    f"{name}/{defense_id}",
                    HardenSpec(defense=defense, recipe=experiment.train, seed=experiment.seed),
                    {"tiles": tiles, "model": clean, "adversarials": adversarial["train"]},
                )
                robust_columns = {
                    "robust_on_normal": _predictions(f"{robust.name} on clean tiles", robust, tiles),
                    "robust_on_perturbed": _predictions(f"{robust.name} on {name}", robust, adversarial["test"]),
                }
                grid.append(GridCell(model_id, attack_id, defense_id, {**columns, **robust_columns}))
    return Plan(tuple(_in_order(grid)), tuple(grid))


def candidates(cell: Cell) -> list[Cell]:
    """The fine-tunings that a hardening cell chooses from: itself, or one for each combination of its search."""
    defense = cell.spec.defense
    if len(settings := defense.candidates()) == 1:
        return [cell]
    specs = [cell.spec.model_copy(update={"defense": one, "held_out": defense.validation}) for one in settings]
    return [Cell("harden", f"{cell.name}/{number}", spec, cell.inputs) for number, spec in enumerate(specs)]


def _predictions(name: str, model: Cell, tiles: Cell) -> Cell:
    return Cell("evaluate", name, EvaluateSpec(split="test"), {"model": model, "tiles": tiles})


def _in_order(grid: list[GridCell]) -> Iterator[Cell]:
    """Every cell that the grid needs, once, by stage, which puts inputs first."""
    found: dict[str, Cell] = {}

    def visit(cell: Cell) -> None:
        if cell.key not in found:
            for needed in cell.inputs.values():
                visit(needed)
            found[cell.key] = cell

    for row in grid:
        for cell in row.columns.values():
            visit(cell)
    stages: list[Stage] = ["ingest", "train", "attack", "harden", "evaluate"]
    for stage in stages:
        yield from (cell for cell in found.values() if cell.stage == stage)
