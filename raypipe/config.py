"""Experiment files: YAML in, one immutable validated record out, or every error at once with its field's path."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, field_validator, model_validator

from raypipe.attacks import ATTACKS, AttackSettings
from raypipe.attacks.prepare import MemoryFormat
from raypipe.data import SOURCES
from raypipe.defenses import DEFENSES, DefenseSettings
from raypipe.defenses.adversarial_training import Search
from raypipe.evaluation.settings import Checks, Evaluation
from raypipe.models.classifier import Model
from raypipe.settings import ID, Settings, chosen_by, entries, near_matches, plain_ids
from raypipe.training.recipe import Recipe

SplitKind = Literal["group", "paper"]


class ConfigError(ValueError):
    """An experiment file that cannot be run.

    Parameters
    ----------
    source
        The file.
    problems
        One message for each error, each beginning with the field's path.
    """

    def __init__(self, source: str, problems: Iterable[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{source}: {count} error{'s' if count != 1 else ''}\n{lines}")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Tiles(Settings):
    """How source images become tiles.

    Parameters
    ----------
    size
        Height and width in pixels; the paper's 255.
    split
        ``group``: stratified, and no group (source tile, patient) on both sides. ``paper``: at random, which leaks
        wherever images have siblings; every output is stamped LEAKY. A list of both runs the whole grid on each, and
        reports what the leak is worth.
    train_fraction
        Share of training tiles (of groups, for a group split).
    splits
        A CSV with the columns ``filename,split`` (``train`` or ``test``) to use instead of drawing a split.
    shard_size
        Tiles a Parquet file, which is also the unit of parallel work.
    """

    size: int = Field(255, ge=32, le=4096)
    split: Annotated[tuple[SplitKind, ...], BeforeValidator(_as_list)] = ("group",)
    train_fraction: float = Field(0.7, gt=0, lt=1)
    splits: str | None = None
    shard_size: int = Field(256, ge=1)

    @field_validator("split")
    @classmethod
    def _one_or_both(cls, split: tuple[SplitKind, ...]) -> tuple[SplitKind, ...]:
        if not split:
            raise ValueError("expected group, paper, or both")
        return tuple(dict.fromkeys(split))

    @model_validator(mode="after")
    def _a_file_is_one_split(self) -> Self:
        if self.splits and len(self.split) > 1:
            raise ValueError("split: a CSV of `splits` is one split; give one name")
        return self


class Resources(Settings):
    """What the experiment may use. Nothing here changes what is computed, so nothing here enters an artifact's key.

    Parameters
    ----------
    train_workers
        DDP workers of a backbone's training.
    harden_workers
        DDP workers of each hardening; 0 trains in the Tune trial's own process, which spares small machines the
        start of a worker group a cell.
    attack_actors
        Processes that attack and predict at once; default: one a CPU, or one a GPU.
    cpus_per_worker
        CPUs of each worker and actor.
    gpu
        Give each worker and actor a GPU.
    loader_workers
        Processes that decode tiles for each training worker; 0 decodes between the steps.
    attack_batch
        Tiles a batch in attacks and predictions; default: found by trial on the device.
    memory_format
        Of the network in attacks: ``contiguous`` or ``channels_last``; default: the faster one, found by trial. Say
        both this and `attack_batch` where two runs must agree to the last bit.
    max_failures
        How often a training may lose a worker and go on from its last epoch.
    """

    train_workers: int = Field(1, ge=1)
    harden_workers: int = Field(1, ge=0)
    attack_actors: int | None = Field(None, ge=1)
    cpus_per_worker: float = Field(1, gt=0)
    gpu: bool = False
    loader_workers: int = Field(0, ge=0)
    attack_batch: int | None = Field(None, ge=1)
    memory_format: MemoryFormat | None = None
    max_failures: int = Field(3, ge=0)


AnySource = Annotated[
    SerializeAsAny[Settings], chosen_by("source", {name: entry.settings for name, entry in SOURCES.items()})
]


class Experiment(Settings):
    """A whole experiment: the grid of models, attacks and defenses over one set of tiles.

    ``models``, ``attacks`` and ``defenses`` map an id to settings; the id is the registry's name unless ``name`` says
    otherwise, so that one attack can stand in the grid twice. A plain list of names takes the defaults.

    ``seed`` decides the split and what is drawn; trainings take it too, unless ``seeds`` names several: then every
    model is trained and hardened once with each, and its figures get a mean and a spread.

    ``tracking`` is the URI of an MLflow server, or ``file:...``, that gets the results besides.
    """

    name: str
    seed: int = Field(0, ge=0)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    storage: str = "results"
    tracking: str | None = None
    data: AnySource
    tiles: Tiles = Tiles()
    models: Annotated[dict[str, Model], BeforeValidator(entries), Field(min_length=1)]
    train: Recipe = Recipe()
    attacks: Annotated[dict[str, AttackSettings], BeforeValidator(entries), Field(min_length=1)]
    defenses: Annotated[dict[str, DefenseSettings], BeforeValidator(entries)] = Field(default_factory=dict)
    evaluation: Evaluation = Evaluation()
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

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, name: str) -> str:
        if not ID.match(name):
            raise ValueError("expected letters, digits, '_', '.', '-', beginning with a letter or digit")
        return name

    @field_validator("models", "attacks", "defenses")
    @classmethod
    def _ids_are_plain(cls, named: dict[str, Any]) -> dict[str, Any]:
        plain_ids(named)
        return named


def load_experiment(path: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read and validate an experiment file.

    Parameters
    ----------
    path
        A YAML file.
    overrides
        ``section.field=value``, applied before validation; the value is read as YAML.

    Raises
    ------
    ConfigError
        With every error of the file.
    """
    return validate_experiment(read_experiment(path, overrides), str(path))


def read_experiment(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Read an experiment file as it is written, with overrides applied.

    Raises
    ------
    ConfigError
        If it cannot be read, is no mapping, or an override does not fit into it.
    """
    source = str(path)
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(source, [f"cannot be read: {error.strerror}; give the path of an experiment file"]) from error
    except yaml.YAMLError as error:
        raise ConfigError(source, [f"is not YAML: {error}"]) from error
    if not isinstance(raw, dict):
        raise ConfigError(source, [f"expected a mapping of settings, got {type(raw).__name__}"])
    if problems := [p for override in overrides if (p := _override(raw, override))]:
        raise ConfigError(source, problems)
    return raw


def validate_experiment(raw: dict[str, Any], source: str = "experiment") -> Experiment:
    """Turn a mapping into an experiment.

    Raises
    ------
    ConfigError
        With every error.
    """
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(source, [_describe(problem) for problem in error.errors()]) from error


def _override(raw: dict[str, Any], override: str) -> str | None:
    """Apply ``a.b.c=value`` in place; returns what is wrong with it, if anything."""
    path, separator, text = override.partition("=")
    parts = path.strip().split(".")
    if not separator or not all(parts):
        return f"--set {override}: expected field.path=value, as in train.epochs=3"
    node = raw
    for depth, part in enumerate(parts[:-1]):
        child = node.get(part)
        if isinstance(child, list) and all(isinstance(item, str) for item in child):
            child = dict.fromkeys(child)
        if not isinstance(child, dict | None):
            return f"--set {override}: {'.'.join(parts[: depth + 1])} is a value, not a section"
        node[part] = child if child is not None else {}
        node = node[part]
    try:
        node[parts[-1]] = yaml.safe_load(text)
    except yaml.YAMLError:
        return f"--set {override}: {text!r} is not a YAML value"
    return None


def _describe(problem: Any) -> str:
    """One of pydantic's errors as ``field.path = value: what is expected``."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
    message = problem["msg"].removeprefix("Value error, ")
    match problem["type"]:
        case "missing":
            return f"{path}: required, but not given"
        case "extra_forbidden":
            return f"{path}: no such setting{near_matches(str(problem['loc'][-1]), _field_names())}"
    shown = "" if isinstance(problem["input"], dict | list) else f" = {problem['input']!r}"
    return f"{path or 'experiment'}{shown}: {message[:1].lower() + message[1:]}"


def _field_names() -> set[str]:
    records: list[type[Settings]] = [
        *(Experiment, Tiles, Resources, Recipe, Model, Search, Evaluation, Checks),
        *(entry.settings for entry in SOURCES.values()),
        *(entry.settings for entry in ATTACKS.values()),
        *DEFENSES.values(),
    ]
    return {name for record in records for name in record.model_fields}
