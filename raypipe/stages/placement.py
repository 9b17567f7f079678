"""Room for workers: the nodes they may run on, how many fit there, and requests to an autoscaler for more."""

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
"""Share of a custom resource that a worker takes. It selects the node and does not limit the number of workers."""
LOOK_EVERY_SECONDS = 1.0


class Node(NamedTuple):
    """The total resources of a node."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Capacity:
    """The resources of the cluster per node; a worker always runs on one node.

    Parameters
    ----------
    nodes
        Nodes that workers may run on.
    on
        Custom resource that these nodes offer, for messages.
    """

    nodes: tuple[Node, ...]
    on: str | None = None

    def fit(self, resources: Resources) -> int:
        """Return the number of workers of the requested size that can run at once."""
        fit = 0
        for node in self.nodes:
            by_cpu = int(node.cpus // resources.cpus_per_worker)
            fit += min(by_cpu, int(node.gpus * resources.workers_per_gpu)) if resources.gpu else by_cpu
        return fit

    def count_workers(
        self, resources: Resources, wanted: int | None = None, say: Callable[[str], None] = lambda _: None
    ) -> int:
        """Return the number of workers that can run at once, at most `wanted`; `say` reports if fewer fit.

        Raises
        ------
        raypipe.base.errors.StageError
            If not a single worker fits.
        """
        fit = self.fit(resources)
        gpu = f" and {Fraction(1, resources.workers_per_gpu)} GPU" if resources.gpu else ""
        each = f"{resources.cpus_per_worker:g} CPUs{gpu}"
        if fit < 1:
            raise StageError(
                f"a worker needs {each} on one node, but {self._describe()}; add nodes, or lower "
                "resources.cpus_per_worker or set resources.gpu: false; where an autoscaler adds them, set "
                "resources.wait_minutes"
            )
        if wanted and fit < wanted:
            say(f"continues with {fit} of {wanted} workers: there is room for no more of {each} each")
        return min(fit, wanted) if wanted else fit

    def _describe(self) -> str:
        kinds = "; ".join(
            f"{count} x {cpus:g} CPUs and {gpus:g} GPUs" for (cpus, gpus), count in Counter(self.nodes).items()
        )
        offering = f" with the resource {self.on!r}" if self.on else ""
        return f"the cluster has {f'these nodes{offering}: {kinds}' if kinds else f'no node{offering}'}"


def list_needs(resources: Resources, on: str | None = None) -> dict[str, float]:
    """Return the resources that Ray has to reserve for one worker.

    Parameters
    ----------
    on
        Custom resource that the worker's node must offer; default: any node will do.
    """
    gpu = {"GPU": resources.gpus_per_worker} if resources.gpu else {}
    return {"CPU": resources.cpus_per_worker, **gpu, **({on: SHARE} if on else {})}


def find_room(
    resources: Resources,
    wanted: int | None = None,
    *,
    ask: int | None = None,
    on: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Return the number of workers that can run at once, after a wait for an autoscaler if the experiment allows one.

    Parameters
    ----------
    wanted
        Largest number to return; default: as many as there is room for.
    ask
        Number of workers that the autoscaler is asked for; default: `wanted`, or one.
    on
        Custom resource that the workers' nodes must offer, as in `list_needs`.
    say
        Receives a message about a wait, which may be long, and about room for fewer workers than requested.

    Raises
    ------
    raypipe.base.errors.StageError
        If not a single worker fits.
    """
    if resources.wait_minutes:
        _wait_for(resources, ask or wanted or 1, on, say)
    return read_capacity(on).count_workers(resources, wanted, say)


def read_capacity(on: str | None = None) -> Capacity:
    """Return the current resources of the connected cluster.

    Parameters
    ----------
    on
        Custom resource; only nodes that offer it count. Default: all nodes count.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return Capacity(tuple(Node(n.get("CPU", 0.0), n.get("GPU", 0.0)) for n in nodes if not on or on in n), on)


def require_room(stages: Collection[Stage], resources: Resources) -> None:
    """Raise an error before any computation if a stage of the run does not fit on the cluster.

    If an autoscaler may add the missing nodes, every stage waits for itself instead.

    Parameters
    ----------
    stages
        Stages with work to do.

    Raises
    ------
    raypipe.base.errors.StageError
        If not a single worker of one of the stages fits.
    """
    if resources.wait_minutes:
        return
    for stage in sorted(stages, key=STAGES.index):
        match stage:
            case "ingest" | "overlap":
                read_capacity().count_workers(resources.model_copy(update={"gpu": False}))
            case "train" | "harden":
                read_capacity(resources.train_on).count_workers(resources)
            case "attack" | "diagnose" | "certify" | "corrupt" | "pattern" | "perturb" | "evaluate":
                read_capacity(resources.attack_on).count_workers(resources)


def _wait_for(resources: Resources, wanted: int, on: str | None, say: Callable[[str], None]) -> None:
    """Wait until `wanted` workers fit or the experiment's timeout expires; the run continues with the nodes it has."""
    deadline = time.monotonic() + 60 * resources.wait_minutes
    if (room := read_capacity(on).fit(resources)) >= wanted:
        return
    where = f" with the resource {on!r}" if on else ""
    say(f"waits for nodes{where}: there is room for {room} of {wanted} workers")
    request_resources(bundles=[list_needs(resources, on)] * wanted)
    try:
        while read_capacity(on).fit(resources) < wanted and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_SECONDS)
    finally:
        request_resources(bundles=[])  # a request stays in force until the next one, and would keep idle nodes forever
