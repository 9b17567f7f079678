"""Cells: units of work, everything that determines the result of each, and the content key computed from it.

A cell's key is a hash of its stage's version, its own settings and its inputs' keys. A change of one attack's parameter
therefore changes the keys of that attack's cells and of the cells computed from them, and no others.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from pydantic import Field

from raypipe.attacks import AttackSettings
from raypipe.attacks.universal import Universal
from raypipe.base.settings import Settings
from raypipe.data.splits import SplitKind
from raypipe.defenses import DefenseSettings
from raypipe.models.classifier import Model
from raypipe.storage.store import Store
from raypipe.training.recipe import Recipe

Stage = Literal[
    "ingest",
    "overlap",
    "import",
    "train",
    "attack",
    "harden",
    "diagnose",
    "certify",
    "corrupt",
    "pattern",
    "perturb",
    "evaluate",
]
Split = Literal["train", "test"]

STAGES: tuple[Stage, ...] = get_args(Stage)
VERSIONS: dict[Stage, int] = {
    "ingest": 2,
    "overlap": 1,
    "import": 1,
    "train": 2,
    "attack": 7,
    "harden": 2,
    "diagnose": 2,
    "certify": 2,
    "corrupt": 1,
    "pattern": 1,
    "perturb": 1,
    "evaluate": 1,
}
"""Version of each stage. Raise it when the stage computes another result from equal settings; its cached results are
then not reused."""

KINDS: dict[Stage, str] = {
    "ingest": "tiles",
    "overlap": "overlaps",
    "import": "model",
    "train": "model",
    "attack": "adversarials",
    "harden": "model",
    "diagnose": "diagnostics",
    "certify": "certificates",
    "corrupt": "corrupted",
    "pattern": "patterns",
    "perturb": "perturbed",
    "evaluate": "predictions",
}

EARLIER = "known "
"""Prefix of the role of an attack cell whose results another attack starts from."""


class IngestSpec(Settings):
    """Settings that determine a set of tiles: the content of the source, not its location.

    `size` is None if the images keep their own size, which is the same for all of them. The split ``given`` has test
    tiles only.
    """

    fingerprint: str
    labels: tuple[str, ...]
    size: int | None
    split: SplitKind | Literal["given"]
    assignment: str
    shard_size: int
    seed: int
    scaled_decoding: bool
    bit_depth: int | None = Field(None, exclude_if=lambda bits: bits is None)  # tiles without it keep their keys


class OverlapSpec(Settings):
    """Settings that determine the siblings of an external test set's tiles among training tiles: nothing but both."""


class ImportSpec(Settings):
    """Settings that determine a finished model that is only tested.

    `content` is a hash of its file or of its state. `form` is its backbone, or the kind of its file or module. `shape`
    is that of its tiles: channels, height and width.
    """

    content: str
    form: str
    shape: tuple[int, int, int]


class TrainSpec(Settings):
    """Settings that determine an undefended model, in addition to its tiles."""

    model: Model
    recipe: Recipe
    seed: int


class AttackSpec(Settings):
    """Settings that determine adversarial tiles.

    The clean tiles, the attacked model and the results of other attacks determine them too. `tiles` is the number of
    attacked tiles of the split, chosen by `raypipe.data.subset`; None attacks all. `radii` are the ascending radii of a
    cascade. If empty, the attack runs once with its own settings.
    """

    attack: AttackSettings
    split: Split
    tiles: int | None = None
    radii: tuple[float, ...] = ()


class HardenSpec(Settings):
    """Settings that determine a hardened model.

    The undefended model and the clean and adversarial training tiles determine it too. `judge` is the attack under
    which epochs are rated on held-out tiles, and `judged_tiles` the number of these tiles; None rates all. Only
    candidates of a search have a judge, and fits with ``early_stopping: reported``.
    """

    defense: DefenseSettings
    recipe: Recipe
    seed: int
    # Left out of content keys at None, so that models that were hardened before a search existed keep their keys.
    judge: AttackSettings | None = Field(None, exclude_if=lambda judge: judge is None)
    judged_tiles: int | None = Field(None, exclude_if=lambda tiles: tiles is None)


class DiagnoseSpec(Settings):
    """Settings that determine the diagnostics of a model, in addition to the model and the clean test tiles.

    `planted` is the attack that must find planted adversarial examples. `planted_tiles` is their number. `tiles` is as
    in `AttackSpec`.
    """

    planted: AttackSettings
    planted_tiles: int
    tiles: int | None
    seed: int


class CertifySpec(Settings):
    """Settings that determine the certificates of a model, in addition to the model and the clean test tiles.

    `tiles` is as in `AttackSpec`.
    """

    defense: DefenseSettings
    tiles: int | None
    seed: int


class CorruptSpec(Settings):
    """Settings that determine a model's predictions of corrupted tiles, in addition to the model and the test tiles.

    `levels` are those of the severities 1 to 5. `tiles` is as in `AttackSpec`.
    """

    corruption: str
    levels: tuple[float, ...]
    tiles: int | None
    seed: int


class PatternSpec(Settings):
    """Settings that determine a model's universal perturbation, in addition to the model and its training tiles."""

    universal: Universal
    seed: int


class PerturbSpec(Settings):
    """Settings that determine predictions of tiles with a universal perturbation, in addition to its inputs.

    `tiles` is as in `AttackSpec`.
    """

    tiles: int | None


class EvaluateSpec(Settings):
    """Settings that determine predictions, in addition to the model and the tiles."""

    split: Split


TestSpec = DiagnoseSpec | CertifySpec | CorruptSpec | PatternSpec | PerturbSpec | EvaluateSpec
Spec = IngestSpec | OverlapSpec | ImportSpec | TrainSpec | AttackSpec | HardenSpec | TestSpec


@dataclass(frozen=True)
class Cell:
    """One unit of work and the artifact that it makes.

    Parameters
    ----------
    stage
        Stage that computes it.
    name
        Name for people, unique within the plan, such as ``resnet18/deepfool/test``.
    spec
        Its own settings.
    inputs
        Cells whose artifacts it reads, by role.
    """

    stage: Stage
    name: str
    spec: Any
    inputs: dict[str, "Cell"] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Kind of its artifact."""
        return KINDS[self.stage]

    @property
    def model(self) -> str:
        """Name of its model in the experiment and the plan, or the name of the tiles if it has no model."""
        return self.inputs.get("model", self).name.split("/")[0]

    @property
    def earlier_attacks(self) -> tuple["Cell", ...]:
        """Attack cells whose results an attack starts from: it skips the tiles that they fool."""
        return tuple(cell for role, cell in self.inputs.items() if role.startswith(EARLIER))

    @cached_property
    def key(self) -> str:
        """Content key of its artifact: 20 hexadecimal digits."""
        determinants = {
            "stage": self.stage,
            "version": VERSIONS[self.stage],
            "spec": self.spec.model_dump(mode="json"),
            "inputs": {role: cell.key for role, cell in self.inputs.items()},
        }
        return hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()[:20]

    def manifest(self, store: Store) -> dict[str, Any] | None:
        """Return the manifest of its artifact, or None if the artifact does not exist yet."""
        return store.manifest(self.kind, self.key)

    def publish(self, store: Store, **facts: Any) -> None:
        """Publish its artifact, with everything that determined it in the manifest."""
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


def find_unfinished(cells: Iterable[Cell], store: Store) -> tuple[Cell, ...]:
    """Return the cells that have no artifact yet."""
    cells = tuple(cells)
    manifests = store.ask_all(lambda cell: cell.manifest(store), cells)
    return tuple(cell for cell, manifest in zip(cells, manifests, strict=True) if manifest is None)


def remove_artifacts(cells: Iterable[Cell], store: Store) -> None:
    """Remove the artifacts of cells, so that they are computed again. Other runs may share them."""
    for cell in cells:
        store.remove(store.artifact(cell.kind, cell.key))


def list_candidates(cell: Cell) -> list[Cell]:
    """Return the fine-tunings that a hardening cell chooses from: itself, or one for each candidate of its search."""
    settings = cell.spec.defense.list_candidates()
    if list(settings) == [cell.spec.defense]:
        return [cell]
    return [build_candidate(cell, number, one) for number, one in enumerate(settings)]


def add_candidates(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Yield cells, each hardening followed by its candidates."""
    for cell in cells:
        yield cell
        if cell.stage == "harden":
            yield from list_candidates(cell)


def build_candidate(cell: Cell, number: int, settings: DefenseSettings) -> Cell:
    """Return the fine-tuning of one candidate of a hardening cell's search, counted from 0."""
    return Cell("harden", f"{cell.name}/{number}", cell.spec.model_copy(update={"defense": settings}), cell.inputs)


def find_unfinished_fits(cells: Iterable[Cell], store: Store) -> list[Cell]:
    """Return the fine-tunings that hardening cells still need.

    Each is listed once, because one cell may be a candidate of another.
    """
    fits = {fit.key: fit for cell in cells for fit in find_unfinished(list_candidates(cell), store)}
    return list(fits.values())
