"""The whole of `raypipe init`: look at a data set, propose settings, estimate the time, and write the file."""

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import yaml

from raypipe.base.errors import UserError
from raypipe.data.audit.audit import audit_source, write_groups
from raypipe.data.audit.sketch import Progress
from raypipe.execution.forecast.forecast import forecast
from raypipe.execution.starter.find import Found, find_data
from raypipe.execution.starter.look import Look, look_at
from raypipe.execution.starter.propose import propose
from raypipe.execution.starter.text import write_text
from raypipe.experiment.load import validate_experiment
from raypipe.experiment.plain_yaml import PlainLoader
from raypipe.experiment.schema import Experiment
from raypipe.plan.listing import list_files, prepare
from raypipe.progress.tree import format_duration

SEED = 0
MOST_AUDITED = 2000
"""Largest number of tiles that are audited for groups; more take minutes, and `raypipe audit` is there for them."""


class Written(NamedTuple):
    """A first experiment: the text of its file, what the data set shows, and the found groups; None if not audited."""

    text: str
    look: Look
    groups: Path | None


def start_experiment(
    location: str,
    groups_file: Path,
    *,
    name: str | None,
    audit: bool,
    estimate: bool,
    progress: Progress,
    say: Callable[[str], None],
) -> Written:
    """Return a first experiment for a data set. It is valid; only the found groups are written.

    Parameters
    ----------
    location
        Folder, zip archive, Parquet, npz or CSV file.
    groups_file
        Place for the groups that the audit finds.
    name
        Name of the run; default: that of the data.
    audit
        True to look for siblings in the pixels if nothing else gives groups.
    estimate
        True to estimate the time of the run by short trials.
    progress, say
        Display of the audit's progress, and of each trial of the estimate.

    Raises
    ------
    FileNotFoundError
        If nothing is at the location.
    ValueError
        If it is no data set.
    """
    found = find_data(make_absolute(location), SEED)
    named = {"groups", "group_pattern"} <= type(found.settings).model_fields.keys()
    look = look_at(found.source, by_name=named)
    origin, groups = "none are known", None
    if look.pattern:
        found = _with(found, group_pattern=look.pattern)
        origin = f"{look.groups:,} cases by the names of the files; check that the pattern gives patients or slides"
    elif look.groups:
        origin = f"{look.groups:,}, from the data set"
    elif audit and named and sum(look.counts.values()) <= MOST_AUDITED:
        origin, groups = _audit(found, groups_file, progress, propose(look, grouped=False).bit_depth)
        found = _with(found, groups=str(groups)) if groups else found
    grouped = bool(look.pattern or look.groups or groups)
    run = (
        re.sub(r"[^A-Za-z0-9_.-]+", "-", name or PurePosixPath(make_absolute(location)).stem).strip("-._")
        or "experiment"
    )
    proposal = propose(look, grouped=grouped)

    def text(takes: str) -> str:
        return write_text(run, found.settings, look, proposal, origin, found.splits, takes)

    experiment = validate_experiment(yaml.load(text(""), Loader=PlainLoader), "the new experiment file")  # noqa: S506
    list_files(experiment)
    return Written(text(_estimate(experiment, say) if estimate else ""), look, groups)


def make_absolute(location: str) -> str:
    """Return a local path as an absolute one, so that the file works from every folder. A URI stays as it is."""
    return location if "://" in location else os.path.abspath(os.path.expanduser(location))  # noqa: PTH100, PTH111


def _with(found: Found, **changes: str) -> Found:
    settings = type(found.settings).model_validate(found.settings.model_dump() | changes)
    return found._replace(settings=settings)


def _audit(found: Found, path: Path, progress: Progress, bit_depth: int | None) -> tuple[str, Path | None]:
    """Look for siblings, and write the found groups. Return their origin, and their file if there are siblings."""
    result = audit_source(
        found.source,
        by_name=False,
        train_fraction=0.7,
        seed=SEED,
        workers=os.cpu_count() or 1,
        progress=progress,
        bit_depth=bit_depth,
    )
    number = len({tile.group for tile in result.tiles})
    if number == len(result.tiles):
        return "none: the audit found no siblings among the pixels, and names show no cases", None
    write_groups(result.tiles, path)
    return f"{number:,} found by the audit of the pixels, in {path.name}; patients are not known", path.absolute()


def _estimate(experiment: Experiment, say: Callable[[str], None]) -> str:
    """Return the estimated time of a run on this machine, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(experiment.model_copy(update={"storage": folder}))
        try:
            found = forecast(prepared, attacked=4, say=say)
        except UserError as error:
            return f"unknown: {str(error).splitlines()[-1].strip()}"
    seconds = found.besides + sum(stage.wall for stage in found.stages(experiment.resources))
    return f"about {format_duration(seconds)} on this machine, {found.workers} workers, by short trials."
