"""Listing of an experiment's data set: every file, its side of each split, and the settings that determine tiles."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raypipe.base.errors import ConfigError
from raypipe.data.leakage import LeakageError, require_disjoint
from raypipe.data.source import Source, TileRef
from raypipe.data.sources import open_source
from raypipe.data.splits import SplitKind, assign_splits, read_split_file
from raypipe.data.subset import choose_subset, find_uncovered_labels
from raypipe.data.tiles import TileItem
from raypipe.evaluation.checks.findings import compute_least_tiles
from raypipe.evaluation.results.run import GIVEN
from raypipe.experiment.load import read_experiment, validate_experiment
from raypipe.experiment.schema import Experiment
from raypipe.plan.cells import Cell, IngestSpec
from raypipe.plan.files import Listing, list_external
from raypipe.plan.graph import Plan, make_plan
from raypipe.storage.errors import StoreError
from raypipe.storage.store import Store

FINGERPRINTS = "cache/fingerprints.json"


def list_files(experiment: Experiment) -> tuple[Listing, ...]:
    """List an experiment's data set, and split it in every way that the experiment names.

    Raises
    ------
    ConfigError
        If the data set does not exist, cannot be split as requested, or has a group on both sides of a group split.
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


def check_experiment(
    path: str | Path, overrides: Iterable[str] = ()
) -> tuple[Experiment, tuple[Listing, ...], dict[str, Listing]]:
    """Read an experiment file, and list its data set and its external test sets.

    Raises
    ------
    ConfigError
        If the file or its data have errors. The message lists all of them: errors elsewhere in the file do not hide
        those of the data.
    """
    raw = read_experiment(path, overrides)
    try:
        experiment = validate_experiment(raw, str(path))
    except ConfigError as error:
        raise ConfigError(str(path), [*error.problems, *_find_problems(raw)]) from error
    try:
        listings = list_files(experiment)
        return experiment, listings, _list_external(experiment, listings)
    except ConfigError as error:
        raise ConfigError(str(path), error.problems) from error


def _list_external(experiment: Experiment, listings: Sequence[Listing]) -> dict[str, Listing]:
    labels = listings[0].source.labels
    return list_external(experiment.evaluation.external, labels, experiment.seed, experiment.name)


def _find_problems(raw: dict[str, Any]) -> tuple[str, ...]:
    """Return the errors of the data set of a file that has other errors, or none if those keep it from being read."""
    placeholders = {"name": "data", "models": ["resnet18"], "attacks": ["deepfool"]}
    try:
        experiment = validate_experiment(
            placeholders | {key: raw[key] for key in ("data", "tiles", "seed") if key in raw}
        )
    except ConfigError:
        return ()
    try:
        list_files(experiment)
    except ConfigError as error:
        return error.problems
    return ()


def describe(listing: Listing, experiment: Experiment, cache: MutableMapping[str, str]) -> IngestSpec:
    """Return the settings that determine the tiles of a listing in an experiment.

    This reads the content of files that `cache` lacks.
    """
    return _build_spec(listing, experiment, listing.source.fingerprint([item.ref for item in listing.items], cache))


def outline(experiment: Experiment, listings: Sequence[Listing], external: Mapping[str, Listing]) -> Plan:
    """Return the plan of an experiment without a look into its files.

    The names and the number of its cells are those of `prepare`; their keys are not.
    """
    specs = [_build_spec(listing, experiment, fingerprint="") for listing in listings]
    # The fingerprints keep the cells of different sets apart.
    others = {set_id: _build_spec(listing, experiment, fingerprint=set_id) for set_id, listing in external.items()}
    return make_plan(experiment, specs, others)


def _build_spec(listing: Listing, experiment: Experiment, fingerprint: str) -> IngestSpec:
    tiles = experiment.tiles
    return ingest_spec(
        listing,
        fingerprint,
        size=tiles.size,
        seed=experiment.seed,
        shard_size=tiles.shard_size,
        scaled_decoding=tiles.scaled_decoding,
        bit_depth=tiles.bit_depth,
    )


def ingest_spec(
    listing: Listing,
    fingerprint: str,
    *,
    size: int | None,
    seed: int,
    shard_size: int,
    scaled_decoding: bool,
    bit_depth: int | None,
) -> IngestSpec:
    """Return the settings that determine the tiles of a listing.

    Parameters
    ----------
    listing
        Files and their sides of the split.
    fingerprint
        Digest of the files' content.
    size, shard_size, scaled_decoding, bit_depth
        Settings as in `raypipe.experiment.schema.Tiles`; `size` is None if images keep their own size.
    seed
        Seed of the order of tiles.
    """
    assignment = json.dumps(sorted((ref.path, side) for ref, side in listing.items if side is not None))
    return IngestSpec(
        fingerprint=fingerprint,
        labels=listing.source.labels,
        size=size,
        split=listing.split,
        assignment=hashlib.sha256(assignment.encode()).hexdigest(),
        shard_size=shard_size,
        seed=seed,
        scaled_decoding=scaled_decoding,
        bit_depth=bit_depth,
    )


def warn_of_few_tiles(experiment: Experiment, listings: Sequence[Listing]) -> Iterator[str]:
    """Yield warnings about too few attacked tiles, as far as the listing shows them: files may prove unreadable.

    They concern classes without a training tile or an attacked tile, and sanity checks that cannot pass.
    """
    count = experiment.evaluation.tiles
    for listing in listings:
        trained = {item.ref.label_name for item in listing.items if item.split == "train"}
        if listing.split != GIVEN and (untrained := [name for name in listing.source.labels if name not in trained]):
            yield (
                f"{listing.split} split: no training tile is of the class {', '.join(untrained)}, which no model can "
                "learn; add tiles, change the seed or the split, or remove the class"
            )
        refs = [item.ref for item in listing.items if item.split == "test"]
        names = listing.source.labels
        labels = [names.index(str(ref.label_name)) for ref in refs]
        groups = [ref.group or ref.path for ref in refs]
        positions = range(len(refs)) if count is None else choose_subset(labels, groups, count, experiment.seed)
        if missing := find_uncovered_labels(labels, positions, len(names)):
            yield (
                f"{listing.split} split: none of the {len(positions)} attacked tiles is of the class "
                f"{', '.join(names[label] for label in missing)}; the {len(refs)} test tiles and evaluation.tiles have "
                f"to reach all {len(names)} classes"
            )
        if experiment.evaluation.checks and len(positions) < (least := compute_least_tiles(1)):
            yield (
                f"{listing.split} split: {len(positions)} attacked tiles are too few for most sanity checks, which "
                f"pass on at least {least}; no model can be called robust"
            )


def count_classes(listing: Listing) -> dict[str, dict[str, int]]:
    """Return the number of files of each class by the side of the split, in the order of the labels."""
    counts = Counter((item.split, item.ref.label_name) for item in listing.items)
    sides = [side for side in ("train", "test") if any(item.split == side for item in listing.items)]
    return {side: {name: counts[side, name] for name in listing.source.labels} for side in sides}


@dataclass(frozen=True)
class Prepared:
    """An experiment whose data sets have been listed, so that its cells and their keys are known.

    Parameters
    ----------
    experiment, store, plan
        The experiment, the store of its results, and its cells.
    listings
        Files of its data set, for each split.
    external
        Files of its external test sets, by id.
    """

    experiment: Experiment
    store: Store
    listings: tuple[Listing, ...]
    plan: Plan
    external: Mapping[str, Listing] = field(default_factory=dict)

    @property
    def ingests(self) -> tuple[tuple[Cell, Listing], ...]:
        """Each cell that writes tiles, with the files that it reads."""
        external = ((self.plan.external_tiles[set_id], listing) for set_id, listing in self.external.items())
        return (*zip(self.plan.tiles, self.listings, strict=True), *external)


def prepare(experiment: Experiment) -> Prepared:
    """List the data set and make the plan. No cell is computed.

    Raises
    ------
    ConfigError
        If the store cannot be opened, or `list_files` or `raypipe.plan.files.list_external` raises it.
    """
    try:
        store = Store.open(experiment.storage)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            experiment.name,
            [f"storage = {experiment.storage!r}: {error}; expected a directory or a URI such as s3://..."],
        ) from error
    listings = list_files(experiment)
    external = _list_external(experiment, listings)
    stored = _find_stored_fingerprints(store)
    cache = dict(stored)
    specs = [describe(listing, experiment, cache) for listing in listings]
    others = {set_id: describe(listing, experiment, cache) for set_id, listing in external.items()}
    if cache != stored:
        store.write_json(FINGERPRINTS, cache)
    return Prepared(experiment, store, listings, make_plan(experiment, specs, others), external)


def _find_stored_fingerprints(store: Store) -> dict[str, str]:
    """Return the stored fingerprints. There are none if the cache is damaged, which only costs time."""
    try:
        stored = store.read_json(FINGERPRINTS) if store.exists(FINGERPRINTS) else {}
    except StoreError:
        return {}
    return {key: value for key, value in stored.items() if isinstance(value, str)} if isinstance(stored, dict) else {}
