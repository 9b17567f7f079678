"""Experiment files: YAML in, one immutable validated record out, or every error at once with its field's path."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from raypipe.attacks import ATTACKS, AttackSettings
from raypipe.attacks.prepare import MemoryFormat
from raypipe.data import SOURCES
from raypipe.data.splits import SplitKind
from raypipe.defenses import DEFENSES, DefenseSettings
from raypipe.defenses.adversarial_training import Search
from raypipe.evaluation.settings import Checks, Evaluation
from raypipe.filesystems import require_no_credentials
from raypipe.models import BACKBONES
from raypipe.models.classifier import Model
from raypipe.models.named import obstacle
from raypipe.settings import ID, Settings, chosen_by, entries, near_matches, plain_ids
from raypipe.training.recipe import Recipe

LONGEST = 2**16
"""Characters of an experiment file, which PyYAML reads in a second or two: the longest of ours has 3,000."""
LARGEST = 10_000
"""Values an experiment may hold, those that YAML's aliases repeat counted each time: the largest of ours has 150."""
SHOWN = 200
"""Characters of a wrong value in its message."""
DIGITS = 25
"""Of a whole number; none of ours is larger than 64 bits."""


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


def _models(value: Any) -> Any:
    """`entries`, with ids for names that cannot be one: ``timm:convnext_tiny`` gets ``timm-convnext_tiny``."""
    named = entries(value)
    if not isinstance(named, Mapping):
        return named
    ids = [key.replace(":", "-") if isinstance(key, str) else key for key in named]
    if len(set(ids)) < len(ids):
        raise ValueError("two have the same id once ':' is '-'; give one an id of its own, as `mine: {name: ...}`")
    return dict(zip(ids, named.values(), strict=True))


class Tiles(Settings):
    """How source images become tiles.

    Parameters
    ----------
    size
        Height and width in pixels; the paper's 255.
    split
        ``group``: stratified, and no group (source tile, patient) on both sides. ``paper``: at random, which leaks
        wherever images have siblings; every output is stamped LEAKY. ``official``: as published with the data set,
        stamped LEAKY unless its groups are known and kept apart. A list runs the whole grid on each, and reports what
        the leak is worth.
    train_fraction
        Share of training tiles (of groups, for a group split).
    splits
        A CSV with the columns ``filename,split`` (``train`` or ``test``) to use instead of drawing a split.
    shard_size
        Tiles a Parquet file, which is also the unit of parallel work.
    scaled_decoding
        Have large JPEGs decoded at a fraction of their size before they are resized: `raypipe.data.images.decode` says
        what that saves and how little pixels differ.
    """

    size: int = Field(255, ge=32, le=4096)
    split: Annotated[tuple[SplitKind, ...], BeforeValidator(_as_list)] = ("group",)
    train_fraction: float = Field(0.7, gt=0, lt=1)
    splits: str | None = None
    shard_size: int = Field(256, ge=1)
    scaled_decoding: bool = True

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
    train_on, attack_on
        A custom resource of Ray; training and hardening, or attacks and all other work on a GPU, then run on those
        nodes alone that offer it: one kind of machine for what must not be interrupted, a cheaper one for what may be.
    wait_minutes
        How long to wait for an autoscaler to bring as many workers as were asked for; 0 takes those there are.
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
    train_on: str | None = None
    attack_on: str | None = None
    wait_minutes: float = Field(0, ge=0)


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator takes."""

AnySource = Annotated[
    SerializeAsAny[Settings], chosen_by("source", {name: entry.settings for name, entry in SOURCES.items()})
]


class Experiment(Settings):
    """A whole experiment: the grid of models, attacks and defenses over one set of tiles.

    ``models``, ``attacks`` and ``defenses`` map an id to settings; the id is the registry's name unless ``name`` says
    otherwise, so that one attack can stand in the grid twice. A plain list of names takes the defaults. Where a model's
    name has colons, its id has hyphens for them.

    ``seed`` decides the split and what is drawn; trainings take it too, unless ``seeds`` names several: then every
    model is trained and hardened once with each, and its figures get a mean and a spread.

    ``tracking`` is the address of an MLflow server, ``file:FOLDER`` for its files, or ``tensorboard:FOLDER``, that
    gets the results besides.
    """

    name: str
    seed: Seed = 0
    seeds: tuple[Seed, ...] = ()
    storage: str = "results"
    tracking: str | None = None
    data: AnySource
    tiles: Tiles = Tiles()
    models: Annotated[dict[str, Model], BeforeValidator(_models), Field(min_length=1)]
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

    @model_validator(mode="after")
    def _models_fit(self) -> Self:
        """Every backbone that is not ours is built, and tried on images of the size that it will get."""
        refused = [
            f"models.{model_id}: {model.name} {refusal}"
            for model_id, model in self.models.items()
            if model.name not in BACKBONES
            if (refusal := obstacle(model.name, model.resize or self.tiles.size))
        ]
        refused += [
            f"defenses.{defense_id} and models.{model_id}: {refusal}"
            for defense_id, defense in self.defenses.items()
            for model_id, model in self.models.items()
            if (refusal := defense.refusal(model.name))
        ]
        if refused:
            raise ValueError("; ".join(refused))
        return self

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, name: str) -> str:
        if not ID.match(name):
            raise ValueError("expected letters, digits, '_', '.', '-', beginning with a letter or digit")
        return name

    @field_validator("storage")
    @classmethod
    def _storage_has_no_credentials(cls, storage: str) -> str:
        require_no_credentials(storage)
        return storage

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
        with Path(path).open(encoding="utf-8") as file:
            raw = _read_yaml(file.read(LONGEST + 1))
    except OSError as error:
        raise ConfigError(source, [f"cannot be read: {error.strerror}; give the path of an experiment file"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(source, [f"is not UTF-8 text ({error}); save it as UTF-8"]) from error
    except ValueError as error:
        raise ConfigError(source, [str(error)]) from error
    if not isinstance(raw, dict):
        raise ConfigError(source, [f"expected a mapping of settings, got {type(raw).__name__}"])
    return overridden(raw, overrides, source)


def overridden(raw: dict[str, Any], overrides: Iterable[str], source: str) -> dict[str, Any]:
    """A mapping of settings with overrides, ``a.b.c=value``, applied in place.

    Raises
    ------
    ConfigError
        If one does not fit into it.
    """
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
    experiment: Experiment = validated(Experiment, raw, source)
    return experiment


def validated(kind: Any, raw: Any, source: str) -> Any:
    """Turn a mapping into settings of some kind; raises as `validate_experiment`.

    Parameters
    ----------
    kind
        A record, or a type such as `raypipe.attacks.AttackSettings`.
    raw, source
        The mapping, and what errors call it.
    """
    try:
        return TypeAdapter(kind).validate_python(raw)
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
        node[parts[-1]] = _read_yaml(text)
    except ValueError:
        return f"--set {_shortened(override)}: {_shortened(repr(text))} is not a YAML value"
    return None


def _read_yaml(text: str) -> Any:
    """Plain values from YAML; ValueError, saying what is the matter, for whatever gives none."""
    if len(text) > LONGEST:
        raise ValueError(f"has more than {LONGEST:,} characters; give the path of an experiment file")
    try:
        _require_few(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError("is nested too deeply; an experiment needs half a dozen levels") from None
    except TooMuch:
        raise
    except Exception as error:
        # Besides its own errors PyYAML lets through those of int(), date() and others: ValueError, KeyError, ...
        raise ValueError(f"is not YAML: {error}") from error


class TooMuch(ValueError):  # noqa: N818 - the name says what is the matter with the file
    """YAML that is small but means something large."""


def _require_few(root: yaml.Node | None) -> None:
    """See that a document is small, its aliases followed, before values and merged mappings are made of it."""
    waiting, count = [root] if root else [], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > LARGEST:
            raise TooMuch(
                f"holds more than {LARGEST:,} values once its aliases (`*name`) are followed; write out what is needed"
            )
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif node.tag == "tag:yaml.org,2002:int" and len(node.value) > DIGITS:
            raise TooMuch(f"holds a number of {len(node.value):,} digits; none may have more than {DIGITS}")


def _describe(problem: Any) -> str:
    """One of pydantic's errors as ``field.path = value: what is expected``."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
    message = problem["msg"].removeprefix("Value error, ")
    match problem["type"]:
        case "missing":
            return f"{path}: required, but not given"
        case "extra_forbidden":
            return f"{path}: no such setting{near_matches(str(problem['loc'][-1]), _field_names())}"
    shown = "" if isinstance(problem["input"], dict | list) else f" = {_shortened(repr(problem['input']))}"
    return f"{path or 'experiment'}{shown}: {message[:1].lower() + message[1:]}"


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _field_names() -> set[str]:
    records: list[type[Settings]] = [
        *(Experiment, Tiles, Resources, Recipe, Model, Search, Evaluation, Checks),
        *(entry.settings for entry in SOURCES.values()),
        *(entry.settings for entry in ATTACKS.values()),
        *DEFENSES.values(),
    ]
    return {name for record in records for name in record.model_fields}
