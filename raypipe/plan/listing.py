"""What an experiment's data set holds: every file, its side of each split, and what determines the tiles made of it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypipe.data.leakage import LeakageError, require_disjoint
from raypipe.data.source import Source, TileRef
from raypipe.data.sources import open_source
from raypipe.data.splits import SplitKind, assign_splits, read_split_file
from raypipe.data.subset import choose_subset, uncovered_labels
from raypipe.data.tiles import TileItem
from raypipe.evaluation.checks.findings import least_tiles
from raypipe.experiment.load import ConfigError, read_experiment, validate_experiment
from raypipe.experiment.schema import Experiment
from raypipe.plan.cells import IngestSpec
from raypipe.plan.graph import Plan, make_plan
from raypipe.storage.store import Store, StoreError

FINGERPRINTS = "cache/fingerprints.json"


@dataclass(frozen=True)
class Listing:
    """The files of a source, and how an experiment uses them.

    Parameters
    ----------
    source
        Where they are.
    split
        How they were split.
    items
        Every file, once, with its side of the split; no side for a file that the listing already sets aside.
    """

    source: Source
    split: SplitKind
    items: tuple[TileItem, ...]


def list_files(experiment: Experiment) -> tuple[Listing, ...]:
    """List an experiment's data set and split it, in every way that the experiment names.

    Raises
    ------
    ConfigError
        If the data set is not there, cannot be split as the experiment says, or has a group on both sides of a group
        split.
    """
    try:
        source = open_source(experiment.data, experiment.seed)
        refs = source.list()
        return tuple(_split(experiment, source, refs, kind) for kind in experiment.tiles.split)
    except LeakageError as error:
        raise ConfigError(experiment.name, [f"tiles.split = 'group': {error}"]) from error
    except (OSError, ValueError) as error:
        raise ConfigError(experiment.name, [f"data: {error}"]) from error


def _split(experiment: Experiment, source: Source, refs: Sequence[TileRef], kind: SplitKind) -> Listing:
    tiles = experiment.tiles
    if tiles.splits:
        sides = read_split_file(tiles.splits, refs)
    else:
        sides = assign_splits(refs, kind, tiles.train_fraction, experiment.seed)
    if kind == "group":
        require_disjoint([(ref.group, sides[ref.path]) for ref in refs if ref.path in sides])
    return Listing(source, kind, tuple(TileItem(ref, sides.get(ref.path)) for ref in refs))


def check_experiment(path: str | Path, overrides: Iterable[str] = ()) -> tuple[Experiment, tuple[Listing, ...]]:
    """Read an experiment file and list its data set.

    Raises
    ------
    ConfigError
        With every error of the file and of its data: faults elsewhere in the file do not hide those of the data.
    """
    raw = read_experiment(path, overrides)
    try:
        experiment = validate_experiment(raw, str(path))
    except ConfigError as error:
        raise ConfigError(str(path), [*error.problems, *_problems_of_data(raw)]) from error
    try:
        return experiment, list_files(experiment)
    except ConfigError as error:
        raise ConfigError(str(path), error.problems) from error


def _problems_of_data(raw: dict[str, Any]) -> tuple[str, ...]:
    """What is wrong with the data set of a file that has other errors; nothing if those keep it from being read."""
    bare = {"name": "data", "models": ["resnet18"], "attacks": ["deepfool"]}
    try:
        experiment = validate_experiment(bare | {key: raw[key] for key in ("data", "tiles", "seed") if key in raw})
    except ConfigError:
        return ()
    try:
        list_files(experiment)
    except ConfigError as error:
        return error.problems
    return ()


def describe(listing: Listing, experiment: Experiment, cache: MutableMapping[str, str]) -> IngestSpec:
    """What determines the tiles that ingest will make of a listing. Reads the content of files that `cache` lacks."""
    refs = [item.ref for item in listing.items]
    assignment = json.dumps(sorted((ref.path, side) for ref, side in listing.items if side is not None))
    return IngestSpec(
        fingerprint=listing.source.fingerprint(refs, cache),
        labels=listing.source.labels,
        size=experiment.tiles.size,
        split=listing.split,
        assignment=hashlib.sha256(assignment.encode()).hexdigest(),
        shard_size=experiment.tiles.shard_size,
        seed=experiment.seed,
        scaled_decoding=experiment.tiles.scaled_decoding,
    )


def evaluation_warnings(experiment: Experiment, listings: Sequence[Listing]) -> Iterator[str]:
    """Say what too few attacked tiles leave out, as far as the listing shows it: files may prove unreadable.

    Classes that no attacked tile is of, and sanity checks that cannot pass.
    """
    count = experiment.evaluation.tiles
    for listing in listings:
        refs = [item.ref for item in listing.items if item.split == "test"]
        names = listing.source.labels
        labels = [names.index(str(ref.label_name)) for ref in refs]
        groups = [ref.group or ref.path for ref in refs]
        chosen = range(len(refs)) if count is None else choose_subset(labels, groups, count, experiment.seed)
        if missing := uncovered_labels(labels, chosen, len(names)):
            yield (
                f"{listing.split} split: none of the {len(chosen)} attacked tiles is of the class "
                f"{', '.join(names[label] for label in missing)}; the {len(refs)} test tiles and evaluation.tiles have "
                f"to reach all {len(names)} classes"
            )
        if experiment.evaluation.checks and len(chosen) < (least := least_tiles(1)):
            yield (
                f"{listing.split} split: {len(chosen)} attacked tiles are too few for most sanity checks, which pass "
                f"on at least {least}; no model can be called robust"
            )


@dataclass(frozen=True)
class Prepared:
    """An experiment whose data set has been listed, so that its cells and their keys are known."""

    experiment: Experiment
    store: Store
    listings: tuple[Listing, ...]
    plan: Plan


def prepare(experiment: Experiment) -> Prepared:
    """List the data set and lay out the plan; nothing is computed.

    Raises
    ------
    ConfigError
        As `list_files`.
    """
    try:
        store = Store.open(experiment.storage)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            experiment.name,
            [f"storage = {experiment.storage!r}: {error}; expected a directory or a URI such as s3://..."],
        ) from error
    listings = list_files(experiment)
    known = _known_fingerprints(store)
    cache = dict(known)
    specs = [describe(listing, experiment, cache) for listing in listings]
    if cache != known:
        store.write_json(FINGERPRINTS, cache)
    return Prepared(experiment, store, listings, make_plan(experiment, specs))


def _known_fingerprints(store: Store) -> dict[str, str]:
    """What was read before; nothing where the cache is damaged, which costs time and nothing else."""
    try:
        known = store.read_json(FINGERPRINTS) if store.exists(FINGERPRINTS) else {}
    except StoreError:
        return {}
    return {key: value for key, value in known.items() if isinstance(value, str)} if isinstance(known, dict) else {}
