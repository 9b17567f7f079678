"""Results of a model's trials in the store, beside the model: one record for a device and a tile size.

A worker that finds a record prepares the model without a trial. A record of other versions of PyTorch, torchvision or
timm is not used, because their networks may differ.
"""

import functools
import importlib.metadata
import json
import re
from contextlib import suppress
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from raypipe.attacks.engine.prepare import Trials, prepare
from raypipe.execution.adapt_network import Shape, find_device
from raypipe.storage.errors import describe_damage
from raypipe.storage.store import Store

FOLDER = "trials"
VERSION = 1
"""Version of the trials. Raise it when `raypipe.attacks.engine.prepare` uses their results in another way."""
PACKAGES = ("torch", "torchvision", "timm")


def read_trials(store: Store, key: str, shape: Shape, device: torch.device) -> Trials | None:
    """Return the results of a model's trials, or None if there are none for this device, tile size and software.

    Parameters
    ----------
    store, key
        Store, and key of the model's artifact.
    shape, device
        Shape of the tiles, and device of the passes.

    Raises
    ------
    raypipe.storage.errors.StoreError
        If the record is damaged.
    """
    path = _get_path(store, key, shape, device)
    try:
        record = store.read_record(path)
    except FileNotFoundError:
        return None
    if {name: record.pop(name, None) for name in ("version", "software")} != _read_versions():
        return None
    try:
        return Trials.model_validate_json(json.dumps(record))  # JSON has lists where the record has tuples
    except ValidationError as error:
        raise describe_damage(store.path(path), error) from error


def write_trials(store: Store, key: str, shape: Shape, device: torch.device, trials: Trials) -> None:
    """Store the results of a model's trials."""
    store.write_record(_get_path(store, key, shape, device), {**_read_versions(), **trials.model_dump(mode="json")})


def try_model(store: Store, key: str, network: nn.Module, shape: Shape) -> None:
    """Run the trials of a model that was just stored, on its own device, and store their results.

    On a GPU, whose memory a training fills, the first attack finds the batch size.
    """
    device = find_device(network)
    batch_size = 1 if device.type == "cuda" else None
    write_trials(store, key, shape, device, prepare(network, shape, device=device, batch_size=batch_size).trials)


def copy_trials(store: Store, key: str, target: str) -> None:
    """Copy the results of a model's trials to another artifact with the same model."""
    source, to = (f"{store.artifact('model', each)}/{FOLDER}" for each in (key, target))
    for name in store.list_files(source):
        store.write_bytes(f"{to}/{name}", store.read_bytes(f"{source}/{name}"))


def _get_path(store: Store, key: str, shape: Shape, device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    kind = re.sub(r"[^A-Za-z0-9.-]+", "_", name)
    return f"{store.artifact('model', key)}/{FOLDER}/{kind}-{'x'.join(map(str, shape))}.json"


@functools.cache
def _read_versions() -> dict[str, Any]:
    """Return the versions that a record must have to be used."""
    software = {}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            software[package] = importlib.metadata.version(package)
    return {"version": VERSION, "software": software}
