"""Two models that share the device: two processes attack at once, as with ``resources.workers_per_gpu: 2``."""

from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

from benchmarks.attacks.contestants import EPS
from benchmarks.gpu.options import Options
from benchmarks.gpu.timing import timed
from benchmarks.gpu.victim import load_victim
from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.prepare import prepare
from raypipe.attacks.pgd import ProjectedGradient

ROUNDS = 3
"""Number of times that a process attacks all tiles."""


def share(options: Options) -> None:
    """Measure one process alone, then two at once."""
    alone = run_processes(1, options)
    options.note(processes=1, **alone)
    together = run_processes(2, options)
    gain = together["images_per_second"] / alone["images_per_second"]
    options.note(processes=2, **together, over_one_process=gain)


def run_processes(count: int, options: Options) -> dict[str, Any]:
    """Return the images a second of all processes together, and each one's seconds and success.

    Raises
    ------
    RuntimeError
        If a process ends without a result.
    """
    context = get_context("spawn")
    ready, results = context.Barrier(count), context.Queue()
    processes = [context.Process(target=_attack, args=(options, ready, results)) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"exit codes {[process.exitcode for process in processes]}: expected 0")
    found = [results.get() for _ in processes]
    seconds, tiles = [each["seconds"] for each in found], [each["tiles"] for each in found]
    return {
        "tiles": sum(tiles),
        "seconds": seconds,
        "images_per_second": sum(tiles) / max(seconds),
        "success": [each["success"] for each in found],
    }


def _attack(options: Options, ready: "Barrier", results: "Queue[dict[str, float]]") -> None:
    victim = load_victim(options)
    images, labels = victim.images.numpy(), victim.labels.numpy()
    prepared = prepare(victim.model, (3, *images.shape[1:3]), device=options.device)
    settings = ProjectedGradient(norm="linf", eps=EPS, max_iterations=40, step_size=0.25)
    generate(replace(prepared), images, labels, settings.model_copy(update={"max_iterations": 2}))  # warms up
    ready.wait(timeout=options.remaining)
    made, seconds = timed(
        lambda: [generate(replace(prepared), images, labels, settings) for _ in range(ROUNDS)], options.device
    )
    results.put({"tiles": ROUNDS * len(labels), "seconds": seconds, "success": float(made[-1].success.mean())})
