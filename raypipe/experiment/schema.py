"""Schema of an experiment: one immutable, validated record, with a record for each section of its file."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from raypipe.attacks import AttackSettings
from raypipe.base.settings import ID, Settings, fill_in_names, require_plain_ids
from raypipe.base.tracking import require_tracking_address
from raypipe.data.sources import AnySource
from raypipe.data.splits import SplitKind
from raypipe.defenses import DefenseSettings
from raypipe.evaluation.settings import Evaluation
from raypipe.models.backbones import BACKBONES
from raypipe.models.backbones.lookup import find_incompatibility
from raypipe.models.classifier import Model
from raypipe.storage.filesystems import require_no_credentials
from raypipe.training.recipe import Recipe


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _read_models(value: Any) -> Any:
    """Apply `entries`, and replace ids that are not valid: ``timm:convnext_tiny`` becomes ``timm-convnext_tiny``."""
    named = fill_in_names(value)
    if not isinstance(named, Mapping):
        return named
    ids = [key.replace(":", "-") if isinstance(key, str) else key for key in named]
    if len(set(ids)) < len(ids):
        raise ValueError("two have the same id once ':' is '-'; give one an id of its own, as `mine: {name: ...}`")
    return dict(zip(ids, named.values(), strict=True))


class Tiles(Settings):
    """Settings of the tiles that are made from the source images.

    Parameters
    ----------
    size
        Height and width in pixels. The default is the paper's 255.
    split
        ``group``: stratified, with no group (source tile, patient) on both sides. ``paper``: at random, which leaks if
        images have siblings; every output is stamped LEAKY. ``official``: as published with the data set, stamped LEAKY
        unless its groups are known and kept apart. A list runs the whole grid on each split, and reports the effect of
        the leakage.
    train_fraction
        Share of training tiles (of groups, for a group split), between 0 and 1.
    splits
        CSV with the columns ``filename,split`` (``train`` or ``test``) that replaces a drawn split.
    shard_size
        Largest number of tiles in a Parquet file, which is also the unit of parallel work.
    scaled_decoding
        True to decode large JPEGs at a reduced scale before they are resized. `raypipe.data.reading.images.decode`
        documents the savings and the small difference of the pixels.
    bit_depth
        Number of bits that 16-bit images use, 8 to 16, such as 12 if their values are 0 to 4095. If not set, each file
        states it (sBIT of PNG, tags of TIFF), or uses all 16.
    """

    size: int = Field(255, ge=32, le=4096)
    split: Annotated[tuple[SplitKind, ...], BeforeValidator(_as_list)] = ("group",)
    train_fraction: float = Field(0.7, gt=0, lt=1)
    splits: str | None = None
    shard_size: int = Field(256, ge=1)
    scaled_decoding: bool = True
    bit_depth: int | None = Field(None, ge=8, le=16, exclude_if=lambda bits: bits is None)

    @field_validator("split")
    @classmethod
    def _one_or_more(cls, split: tuple[SplitKind, ...]) -> tuple[SplitKind, ...]:
        if not split:
            raise ValueError("expected group, paper, official, or several of them")
        return tuple(dict.fromkeys(split))

    @model_validator(mode="after")
    def _a_file_is_one_split(self) -> Self:
        if self.splits and len(self.split) > 1:
            raise ValueError("split: a CSV of `splits` is one split; give one name")
        if self.splits and "official" in self.split:
            raise ValueError("splits: the split is `official`, or what this CSV says; leave one out")
        return self


class Report(Settings):
    """Settings of the report. They do not change what is computed, so they do not enter an artifact's key.

    Parameters
    ----------
    paper_tables
        True to show Tables 1 to 3 of the reproduced paper (Nisa, Suciati and Yuniarti, 2024), with its figures beside
        the measured ones. They are of interest only to runs that repeat its experiment.
    """

    paper_tables: bool = False


class Resources(Settings):
    """Resources that the experiment may use.

    They do not change what is computed, so they do not enter an artifact's key.

    Parameters
    ----------
    train_workers
        Number of DDP workers of a backbone's training. 0 trains each backbone in one process, and several backbones at
        the same time. That saves small machines the exchange of gradients, but an interrupted training starts again.
        ``auto`` chooses what should finish first, by the number of backbones, the room for workers and the size of a
        step, and says so.
    harden_workers
        Number of DDP workers of each hardening. 0 trains in the Tune trial's own process, which saves small machines
        the start of a worker group for each cell.
    attack_actors
        Number of processes that attack and predict concurrently. Default: one for each CPU, or one for each GPU.
    cpus_per_worker
        Number of CPUs of each worker and actor.
    gpu
        True to give each worker and actor a GPU.
    workers_per_gpu
        Number of workers and actors that share a GPU, for small networks. The workers of a DDP group never share one.
    loader_workers
        Number of processes that decode tiles for each training worker. 0 decodes between the steps.
    attack_batch
        Number of tiles in a batch of attacks and predictions. Default: on a CPU a number that depends on the tile size
        alone, and on a GPU the one that trials find. Set it if two runs on GPUs must agree to the last bit.
    max_failures
        Number of times that a training may lose a worker and resume from its last epoch.
    train_on, attack_on
        Custom resource of Ray. Training and hardening, or attacks and all other work on a GPU, then run only on nodes
        that offer it. Use one kind of machine for work that must not be interrupted, and a cheaper kind for work that
        may be.
    wait_minutes
        Timeout in minutes while an autoscaler adds nodes. A run waits until all requested workers fit or the timeout
        expires. 0 starts with the nodes that exist.
    """

    train_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    harden_workers: int = Field(1, ge=0)
    attack_actors: int | None = Field(None, ge=1)
    cpus_per_worker: float = Field(1, gt=0)
    gpu: bool = False
    workers_per_gpu: int = Field(1, ge=1, le=64)
    loader_workers: int = Field(0, ge=0)
    attack_batch: int | None = Field(None, ge=1)
    max_failures: int = Field(3, ge=0)
    train_on: str | None = None
    attack_on: str | None = None
    wait_minutes: float = Field(0, ge=0)

    @field_validator("train_workers", mode="before")
    @classmethod
    def _count_or_auto(cls, value: Any) -> Any:
        if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        raise ValueError("expected auto or a whole number of at least 0")

    @property
    def gpus_per_worker(self) -> float:
        """Share of a GPU that a worker gets, in [0, 1]."""
        return 1 / self.workers_per_gpu if self.gpu else 0

    def for_group(self, workers: int) -> Self:
        """Return these resources for a group of `workers` workers.

        Several workers never share a GPU, because on one GPU they would deadlock.
        """
        return self.model_copy(update={"workers_per_gpu": 1}) if workers > 1 else self


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""Seed in the range that every generator accepts."""


class Experiment(Settings):
    """A whole experiment: the grid of models, attacks and defenses over one set of tiles.

    Parameters
    ----------
    name
        Name of the run, and of its folder in the store.
    seed
        Seed of the split and of all random draws, also of the trainings unless `seeds` names several.
    seeds
        Seeds of the trainings. Every model is trained and hardened once with each of them, and its figures get a mean
        and a spread.
    storage
        Store of the results: a folder, or a URI such as ``s3://bucket/path``.
    tracking
        Second destination of the results: the address of an MLflow server, ``file:FOLDER`` or ``sqlite:///FILE`` for
        its files, ``tensorboard:FOLDER``, or ``wandb:PROJECT`` for Weights & Biases. If it fails, the run is finished
        all the same.
    data
        The data set, see `raypipe.data.sources`.
    tiles
        Size and split of the tiles.
    models, attacks, defenses
        Settings by id. The id is the registry's name unless ``name`` gives another one, so that one attack can be in
        the grid twice. A plain list of names takes the defaults. If a model's name has colons, its id has hyphens in
        their place.
    train
        Training of every model.
    evaluation
        Attacks on every model, and sanity checks.
    report
        Content of the report.
    resources
        Workers and GPUs of the run.
    """

    name: str
    seed: Seed = 0
    seeds: tuple[Seed, ...] = ()
    storage: str = "results"
    tracking: str | None = None
    data: AnySource
    tiles: Tiles = Tiles()
    models: Annotated[dict[str, Model], BeforeValidator(_read_models), Field(min_length=1)]
    train: Recipe = Recipe()
    attacks: Annotated[dict[str, AttackSettings], BeforeValidator(fill_in_names), Field(min_length=1)]
    defenses: Annotated[dict[str, DefenseSettings], BeforeValidator(fill_in_names)] = Field(default_factory=dict)
    evaluation: Evaluation = Evaluation()
    report: Report = Report()
    resources: Resources = Resources()

    @property
    def training_seeds(self) -> tuple[int, ...]:
        """`seeds` without repetitions, or `seed` alone."""
        return tuple(dict.fromkeys(self.seeds)) or (self.seed,)

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        if twice := sorted(self.attacks.keys() & self.evaluation.attacks.keys()):
            raise ValueError(f"evaluation.attacks: {', '.join(twice)}: an attack of the grid has this id already")
        return self

    @model_validator(mode="after")
    def _models_fit(self) -> Self:
        """Require that every backbone from outside this package can be built and classifies images of its size.

        Also require that every defense is compatible with every model.
        """
        refused = [
            f"models.{model_id}: {model.name} {reason}"
            for model_id, model in self.models.items()
            if model.name not in BACKBONES
            if (reason := find_incompatibility(model.name, model.resize or self.tiles.size))
        ]
        refused += [
            f"defenses.{defense_id} and models.{model_id}: {reason}"
            for defense_id, defense in self.defenses.items()
            for model_id, model in self.models.items()
            if (reason := defense.find_incompatibility(model.name))
        ]
        if refused:
            raise ValueError("; ".join(refused))
        return self

    @model_validator(mode="after")
    def _tiles_are_held_out(self) -> Self:
        needy = [f"defenses.{name}" for name, defense in self.defenses.items() if defense.needs_held_out]
        if needy and not self.train.validation:
            raise ValueError(
                f"{', '.join(needy)}: early_stopping and search compare on held-out training tiles, but "
                "train.validation is 0; set train.validation: 0.1, or leave them out"
            )
        return self

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, name: str) -> str:
        if not ID.match(name):
            raise ValueError("expected letters, digits, '_', '.', '-', beginning with a letter or digit")
        return name

    @field_validator("tracking")
    @classmethod
    def _tracking_is_an_address(cls, tracking: str | None) -> str | None:
        if tracking is not None:
            require_tracking_address(tracking)
        return tracking

    @field_validator("storage")
    @classmethod
    def _storage_has_no_credentials(cls, storage: str) -> str:
        require_no_credentials(storage)
        return storage

    @field_validator("models", "attacks", "defenses")
    @classmethod
    def _ids_are_plain(cls, entries: dict[str, Any]) -> dict[str, Any]:
        require_plain_ids(entries)
        return entries
