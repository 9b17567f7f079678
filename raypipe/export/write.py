"""The export of a run's model into a folder that needs nothing else."""

import json
import shutil
import uuid
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from raypipe.base.settings import suggest_matches
from raypipe.base.version import __version__
from raypipe.data.tiles import decode_images
from raypipe.evaluation.results.result import load_result
from raypipe.evaluation.results.run import Run, SubjectRecord, read_run
from raypipe.export.card import Origin, write_card
from raypipe.export.forms import Form, write_forms
from raypipe.models.artifacts import load_model
from raypipe.models.checkpoint import ModelCard
from raypipe.models.model_file import MODEL_FILE
from raypipe.report.declaration import list_digests
from raypipe.report.layout import Book
from raypipe.storage.environment import read_environment
from raypipe.storage.store import Store

CARD_FILE, CONFIG_FILE = "README.md", "config.json"
COMPARED_TILES = 32
"""Number of tiles on which each form is compared with the model."""


@dataclass(frozen=True)
class Export:
    """The result of an export.

    Parameters
    ----------
    folder
        Folder that was written.
    forms
        Forms of the model besides its weights, and those that could not be written.
    """

    folder: Path
    forms: tuple[Form, ...]


def export_model(
    store: Store,
    name: str,
    subject_id: str,
    folder: Path,
    weights_license: str | None = None,
    *,
    force: bool = False,
) -> Export:
    """Write a model of a run with its card into a new folder.

    Parameters
    ----------
    store, name
        Store, and name of the run.
    subject_id
        The model's name in the tables of the run, such as ``resnet18/deepfool/adversarial_training``.
    folder
        New folder. It appears complete or not at all.
    weights_license
        License of the weights; None means that it is not stated, and the card says so.
    force
        True to replace an earlier export in the folder.

    Raises
    ------
    FileExistsError
        If the folder exists, and is not an earlier export that `force` allows to replace.
    FileNotFoundError
        If there is no such run, or artifacts of it are missing.
    ValueError
        If the run has no such model; the message lists its models.
    """
    replaces = force and (folder / CONFIG_FILE).is_file()
    if folder.exists() and not replaces:
        raise FileExistsError(
            f"{folder} exists: give the name of a new folder, or the folder of an earlier export and --force"
        )
    run = read_run(store, name)
    subject = _find_subject(run, subject_id)
    classifier, card = load_model(store, subject.key)
    clean = run.find_clean_pairing(subject.id)
    made = folder.with_name(f".tmp-{uuid.uuid4().hex}-{folder.name}")
    made.mkdir(parents=True)
    try:
        (made / MODEL_FILE).write_bytes(store.read_bytes(f"{store.artifact('model', subject.key)}/{MODEL_FILE}"))
        tiles = _choose_tiles(store, clean.tiles)
        forms = write_forms(classifier, card, tiles, made, f"{subject.id} of the run {run.name}")
        config = json.dumps(_build_config(run, subject, card, forms), indent=2)
        (made / CONFIG_FILE).write_text(f"{config}\n", encoding="utf-8")
        text = write_card(_read_origin(store, run, subject, card, clean.tiles), forms, weights_license)
        (made / CARD_FILE).write_text(text, encoding="utf-8")
        if replaces:
            shutil.rmtree(folder)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Export(folder, forms)


def _find_subject(run: Run, wanted: str) -> SubjectRecord:
    subjects = {subject.id: subject for subject in run.subjects}
    if wanted not in subjects:
        raise ValueError(
            f"run {run.name!r} has no model {wanted!r}, expected one of {', '.join(subjects)}"
            f"{suggest_matches(wanted, subjects)}"
        )
    return subjects[wanted]


def _choose_tiles(store: Store, key: str) -> NDArray[np.uint8]:
    """Return the first test tiles."""
    tables = islice(store.iter_tables("tiles", key, "test", ["image"]), COMPARED_TILES)
    images = decode_images(pa.concat_tables(tables).slice(0, COMPARED_TILES))
    if not len(images):
        raise FileNotFoundError(f"{store.path(store.artifact('tiles', key))}: no test tiles to compare with")
    return images


def _build_config(run: Run, subject: SubjectRecord, card: ModelCard, forms: tuple[Form, ...]) -> dict[str, Any]:
    """Return the facts that other programs need to know."""
    return {
        "architecture": card.backbone,
        "labels": list(card.labels),
        "size": card.size,
        "mean": list(card.mean),
        "std": list(card.std),
        "resize": card.resize,
        "input_transform": card.input_transform.model_dump() if card.input_transform else None,
        "forms": [asdict(form) for form in forms],
        "run": run.name,
        "subject": subject.id,
        "key": subject.key,
        "raypipe": __version__,
    }


def _read_origin(store: Store, run: Run, subject: SubjectRecord, card: ModelCard, tiles: str) -> Origin:
    about = read_environment(store, run.name)
    return Origin(
        run=run,
        subject=subject,
        book=Book.from_result(load_result(store, run.name)),
        card=card,
        tiles=store.manifest("tiles", tiles) or {},
        experiment=yaml.safe_load(store.read_bytes(f"runs/{run.name}/experiment.yaml")),
        environment={"Python": about.python, **about.packages} if about else {},
        digests=tuple(list_digests(run, store, subject.id)),
    )
