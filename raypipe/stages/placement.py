"""Room for workers: on which nodes they may run, how many fit there, and asking an autoscaler for more."""

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import ray
from ray.autoscaler.sdk import request_resources

from raypipe.base.errors import StageError
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import STAGES, Stage

SHARE = 0.001
"""Of a custom resource that a worker takes: it says where, not how much."""
LOOK_EVERY_SECONDS = 1.0


class Node(NamedTuple):
    """What a node has in total."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Capacity:
    """What the cluster has, node by node: a worker is never spread over several.

    Parameters
    ----------
    nodes
        That count.
    on
        The custom resource that they offer, for messages.
    """

    nodes: tuple[Node, ...]
    on: str | None = None

    def fit(self, resources: Resources) -> int:
        """How many workers of the wanted size can run at once."""
        fit = 0
        for node in self.nodes:
            by_cpu = int(node.cpus // resources.cpus_per_worker)
            fit += min(by_cpu, int(node.gpus * resources.workers_per_gpu)) if resources.gpu else by_cpu
        return fit

    def workers(
        self, resources: Resources, wanted: int | None = None, say: Callable[[str], None] = lambda _: None
    ) -> int:
        """How many workers of the wanted size can run at once, at most `wanted`; `say` is told if that is fewer.

        Raises
        ------
        raypipe.base.errors.StageError
            If not a single one can.
        """
        fit = self.fit(resources)
        gpu = f" and {Fraction(1, resources.workers_per_gpu)} GPU" if resources.gpu else ""
        each = f"{resources.cpus_per_worker:g} CPUs{gpu}"
        if fit < 1:
            raise StageError(
                f"a worker needs {each} on one node, but {self._told()}; add nodes, or lower "
                "resources.cpus_per_worker or set resources.gpu: false; where an autoscaler adds them, set "
                "resources.wait_minutes"
            )
        if wanted and fit < wanted:
            say(f"goes on with {fit} of {wanted} workers: there is room for no more of {each} each")
        return min(fit, wanted) if wanted else fit

    def _told(self) -> str:
        kinds = "; ".join(
            f"{count} x {cpus:g} CPUs and {gpus:g} GPUs" for (cpus, gpus), count in Counter(self.nodes).items()
        )
        offering = f" with the resource {self.on!r}" if self.on else ""
        return f"the cluster has {f'these nodes{offering}: {kinds}' if kinds else f'no node{offering}'}"


def needs_of(resources: Resources, on: str | None = None) -> dict[str, float]:
    """What Ray has to reserve for one worker.

    Parameters
    ----------
    on
        A custom resource that its node must offer; default: any node will do.
    """
    gpu = {"GPU": resources.gpus_per_worker} if resources.gpu else {}
    return {"CPU": resources.cpus_per_worker, **gpu, **({on: SHARE} if on else {})}


def room_for(
    resources: Resources,
    wanted: int | None = None,
    *,
    ask: int | None = None,
    on: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """How many workers can run at once, at most `wanted`; waits for an autoscaler where the experiment says so.

    Parameters
    ----------
    wanted
        At most; default: as many as there is room for.
    ask
        What the autoscaler is asked for; default: `wanted`, or a single one.
    on
        As for `needs_of`.
    say
        Told of a wait, which may be long, and of fewer workers than were wanted.

    Raises
    ------
    raypipe.base.errors.StageError
        If not a single one can.
    """
    if resources.wait_minutes:
        _wait_for(resources, ask or wanted or 1, on, say)
    return capacity(on).workers(resources, wanted, say)


def capacity(on: str | None = None) -> Capacity:
    """What the connected cluster has now.

    Parameters
    ----------
    on
        A custom resource: only nodes that offer it count. Default: all do.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return Capacity(tuple(Node(n.get("CPU", 0.0), n.get("GPU", 0.0)) for n in nodes if not on or on in n), on)


def require_room(stages: Collection[Stage], resources: Resources) -> None:
    """Refuse a run of which a stage could never be placed, before anything is computed for it.

    Where an autoscaler may bring what is missing, every stage waits for itself instead.

    Parameters
    ----------
    stages
        Those with work to do.

    Raises
    ------
    raypipe.base.errors.StageError
        If not a single worker of one of them fits.
    """
    if resources.wait_minutes:
        return
    for stage in sorted(stages, key=STAGES.index):
        match stage:
            case "ingest":
                capacity().workers(resources.model_copy(update={"gpu": False}))
            case "train" | "harden":
                capacity(resources.train_on).workers(resources)
            case "attack" | "diagnose" | "certify" | "evaluate":
                capacity(resources.attack_on).workers(resources)


def _wait_for(resources: Resources, wanted: int, on: str | None, say: Callable[[str], None]) -> None:
    """Until so many fit, or for as long as the experiment says; whatever came by then has to do."""
    deadline = time.monotonic() + 60 * resources.wait_minutes
    if (there := capacity(on).fit(resources)) >= wanted:
        return
    where = f" with the resource {on!r}" if on else ""
    say(f"waits for nodes{where}: there is room for {there} of {wanted} workers")
    request_resources(bundles=[needs_of(resources, on)] * wanted)
    try:
        while capacity(on).fit(resources) < wanted and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_SECONDS)
    finally:
        request_resources(bundles=[])  # a request stands until the next, and would keep idle nodes for ever
