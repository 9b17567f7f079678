"""Attacks of raypipe and of other libraries: images a second, success and distortion of the returned images."""

import importlib.util
import time
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.attacks import peers
from benchmarks.attacks.contestants import Contestant, Task, task_of
from benchmarks.attacks.guard import TimeUp, clean_afterwards
from benchmarks.attacks.ours import OURS
from benchmarks.attacks.passes import distances, warm_up
from benchmarks.attacks.peers import MODULES, PEERS
from benchmarks.gpu.options import Options
from benchmarks.gpu.timing import limit_clock, timed
from benchmarks.gpu.victim import Victim, load_victim
from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.prepare import PreparedModel, prepare
from raypipe.attacks.engine.quantize import to_bytes, to_unit
from raypipe.models.precision import full_precision

FAMILIES = ("deepfool", "carlini_wagner_l2", "pgd", "autoattack")
CONTESTANTS = tuple(entry for entry in (*OURS, *PEERS) if entry.attack in FAMILIES)


def is_installed(library: str) -> bool:
    """Return True if a library can be imported."""
    return all(importlib.util.find_spec(module.partition(".")[0]) for module in MODULES.get(library, ()))


def compare(family: str, options: Options) -> None:
    """Measure each contestant of a family. Each may use an equal share of the remaining time.

    raypipe's attacks have two rows: the attack itself with floating-point results, like those of the other libraries,
    and the whole path to stored 8-bit tiles, which also checks every success on the plain model in float32.
    """
    victim = load_victim(options)
    task, prepared = make_task(victim, options.device)
    entries = [entry for entry in CONTESTANTS if entry.attack == family]
    absent = {entry.library for entry in entries if not is_installed(entry.library)}
    for library in sorted(absent):
        options.note(library=library, missing="not installed; see benchmarks/peers.txt and the extra `bench`")
    lanes = [(entry, stored) for entry in entries for stored in ((False, True) if entry.ours else (False,))]
    lanes = [(entry, stored) for entry, stored in lanes if entry.library not in absent]
    for number, (entry, stored) in enumerate(lanes):
        few = entry.slow or entry.one_by_one
        part = task.take(slice(options.sizes.few)) if few else task
        head = {"library": entry.library, "label": entry.label, "tiles": len(part), "stored": stored}
        try:
            peers.load(entry.library)
            share = options.remaining / (len(lanes) - number)
            options.note(
                **head, **measure(entry, part, victim, prepared if stored else None, share, options.sizes.runs)
            )
        except Exception as error:  # noqa: BLE001  foreign code; a contestant's failure is a result too
            options.note(**head, error=f"{type(error).__name__}: {error}"[:500])


def make_task(victim: Victim, device: torch.device) -> tuple[Task, PreparedModel]:
    """Return the task for all tiles, and the prepared model, after a pass of each in both directions."""
    images, labels = victim.floats(device), victim.labels.to(device)
    prepared = prepare(victim.model, (3, *images.shape[2:]), device=device)
    warm_up(victim.model, images)
    warm_up(prepared.fast, images)
    return task_of(victim.model, prepared, images, labels), prepared


def measure(
    entry: Contestant, task: Task, victim: Victim, stored: PreparedModel | None, limit: float, runs: int
) -> dict[str, Any]:
    """Return the figures of a contestant, with several runs if the time allows.

    Parameters
    ----------
    entry
        Contestant to run.
    task
        Tiles of the contestant, the first ones of the victim.
    victim
        Victim with the tiles as they are stored.
    stored
        Prepared model for the whole path to stored tiles; None means the attack alone.
    limit
        Seconds for all runs.
    runs
        Largest number of runs; the fastest counts.
    """
    device, seconds, begun = task.images.device, list[float](), time.monotonic()
    images = task.images
    with clean_afterwards(task.model):
        while len(seconds) < runs and (not seconds or limit - (time.monotonic() - begun) > 2 * max(seconds)):
            try:
                with limit_clock(limit - (time.monotonic() - begun)):
                    images, spent = timed(lambda: _run(entry, task, victim, stored), device)
            except TimeUp:
                if not seconds:
                    return {"timed_out": True, "limit": limit}
                break
            seconds.append(spent)
    return {"seconds": seconds, "images_per_second": len(task) / min(seconds), **judge(task, images)}


def _run(entry: Contestant, task: Task, victim: Victim, stored: PreparedModel | None) -> Tensor:
    if stored is not None and entry.settings is not None:
        count = len(task)
        made = generate(stored, victim.images[:count].numpy(), victim.labels[:count].numpy(), entry.settings())
        return torch.from_numpy(made.images).to(task.images.device).permute(0, 3, 1, 2).float() / 255
    if entry.one_by_one:
        return torch.cat([entry.run(task.take(slice(at, at + 1))) for at in range(len(task))]).to(task.images.device)
    return entry.run(task).to(task.images.device)


@full_precision()
def judge(task: Task, images: Tensor) -> dict[str, Any]:
    """Return success and distortion, recomputed from the images on the plain model in float32.

    Raises
    ------
    ValueError
        If the images are not finite images in [0, 1] like those of the task.
    """
    if images.shape != task.images.shape or not bool(images.isfinite().all()):
        raise ValueError(f"returned {tuple(images.shape)}: expected finite images {tuple(task.images.shape)}")
    low, high = float(images.min()), float(images.max())
    if low < -1e-5 or high > 1 + 1e-5:
        raise ValueError(f"returned pixels from {low:.4g} to {high:.4g}: expected 0..1")
    with torch.no_grad():
        success = task.model(images).argmax(1) != task.labels
        rounded = task.model(to_unit(to_bytes(images))).argmax(1) != task.labels
    l2 = distances(images, task.images, "l2")[success].tolist()
    linf = distances(images, task.images, "linf")[success].tolist()
    return {
        "success": float(success.float().mean()),
        "success_in_8_bits": float(rounded.float().mean()),
        "l2_median": median(l2) if l2 else None,
        "linf_max": max(linf, default=None),
    }
