"""Cells: units of work, what determines each, and the content key that follows from it.

A cell's key is a hash of its stage's version, its own settings and its inputs' keys. Changing one attack's parameter
therefore changes the keys of that attack's cells and of what is computed from them, and of nothing else.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from raypipe.attacks import AttackSettings
from raypipe.base.settings import Settings
from raypipe.data.splits import SplitKind
from raypipe.defenses import DefenseSettings
from raypipe.defenses.base import StaticTraining
from raypipe.models.classifier import Model
from raypipe.storage.store import Store
from raypipe.training.recipe import Recipe

Stage = Literal["ingest", "train", "attack", "harden", "diagnose", "certify", "evaluate"]
Split = Literal["train", "test"]

STAGES: tuple[Stage, ...] = ("ingest", "train", "attack", "harden", "diagnose", "certify", "evaluate")
VERSIONS: dict[Stage, int] = {
    "ingest": 1,
    "train": 2,
    "attack": 6,
    "harden": 2,
    "diagnose": 2,
    "certify": 2,
    "evaluate": 1,
}
"""Raised when a stage computes something else from the same settings: what it computed before is then computed anew."""

KINDS: dict[Stage, str] = {
    "ingest": "tiles",
    "train": "model",
    "attack": "adversarials",
    "harden": "model",
    "diagnose": "diagnostics",
    "certify": "certificates",
    "evaluate": "predictions",
}

KNOWN = "known "
"""Begins the role of an attack whose results another attack starts from."""


class IngestSpec(Settings):
    """What determines a set of tiles: the content of the source, not where it lies."""

    fingerprint: str
    labels: tuple[str, ...]
    size: int
    split: SplitKind
    assignment: str
    shard_size: int
    seed: int
    scaled_decoding: bool


class TrainSpec(Settings):
    """What determines a clean model, besides its tiles."""

    model: Model
    recipe: Recipe
    seed: int


class AttackSpec(Settings):
    """What determines adversarial tiles, besides the clean tiles, the victim and what other attacks have found.

    `tiles` is the number of tiles of the split that are attacked, by `raypipe.data.subset`; None: all. `radii` are
    those of a cascade, ascending; none: the attack runs once, as its settings say.
    """

    attack: AttackSettings
    split: Split
    tiles: int | None = None
    radii: tuple[float, ...] = ()


class HardenSpec(Settings):
    """What determines a hardened model, besides the clean model and the clean and perturbed training tiles."""

    defense: DefenseSettings
    recipe: Recipe
    seed: int


class DiagnoseSpec(Settings):
    """What determines the diagnostics of a model, besides it and the clean test tiles.

    `planted` is the attack that has to find planted adversarial examples, on so many tiles; `tiles` as in `AttackSpec`.
    """

    planted: AttackSettings
    planted_tiles: int
    tiles: int | None
    seed: int


class CertifySpec(Settings):
    """What determines what is proved of a model, besides it and the clean test tiles; `tiles` as in `AttackSpec`."""

    defense: DefenseSettings
    tiles: int | None
    seed: int


class EvaluateSpec(Settings):
    """What determines predictions, besides the model and the tiles."""

    split: Split


Spec = IngestSpec | TrainSpec | AttackSpec | HardenSpec | DiagnoseSpec | CertifySpec | EvaluateSpec


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

    @property
    def model(self) -> str:
        """The model that it is about, as the experiment and the plan name it; the tiles' name if it is about none."""
        return self.inputs.get("model", self).name.split("/")[0]

    @property
    def known(self) -> tuple["Cell", ...]:
        """The attacks whose results an attack at several radii starts from."""
        return tuple(cell for role, cell in self.inputs.items() if role.startswith(KNOWN))

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


def unfinished(cells: Iterable[Cell], store: Store) -> tuple[Cell, ...]:
    """Those that have no artifact yet."""
    cells = tuple(cells)
    manifests = store.ask_all(lambda cell: cell.manifest(store), cells)
    return tuple(cell for cell, manifest in zip(cells, manifests, strict=True) if manifest is None)


def candidates(cell: Cell) -> list[Cell]:
    """The fine-tunings that a hardening cell chooses from: itself, or one for each combination of its search."""
    defense = cell.spec.defense
    if not isinstance(defense, StaticTraining) or len(settings := defense.candidates()) == 1:
        return [cell]
    specs = [cell.spec.model_copy(update={"defense": one}) for one in settings]
    return [Cell("harden", f"{cell.name}/{number}", spec, cell.inputs) for number, spec in enumerate(specs)]


def unfinished_fits(cells: Iterable[Cell], store: Store) -> list[Cell]:
    """Return the fine-tunings that hardening cells still need, each once: one cell may be a candidate of another."""
    found = {fit.key: fit for cell in cells for fit in unfinished(candidates(cell), store)}
    return list(found.values())
