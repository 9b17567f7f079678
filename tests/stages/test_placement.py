"""The number of workers that fit, and the messages if too few do."""

import subprocess
import sys

import pytest

from raypipe.base.errors import StageError
from raypipe.experiment.schema import Resources
from raypipe.stages.placement import Capacity, Node, list_needs


def test_as_many_workers_as_fit_but_no_more_than_wanted() -> None:
    eight, told = Capacity((Node(8, 0),)), list[str]()
    assert eight.count_workers(Resources(cpus_per_worker=2), say=told.append) == 4
    assert eight.count_workers(Resources(cpus_per_worker=2), wanted=3, say=told.append) == 3
    assert not told
    assert eight.count_workers(Resources(cpus_per_worker=2), wanted=9, say=told.append) == 4
    assert told == ["continues with 4 of 9 workers: there is room for no more of 2 CPUs each"]
    assert Capacity((Node(8, 2),)).count_workers(Resources(gpu=True)) == 2


def test_a_worker_is_not_spread_over_nodes() -> None:
    assert Capacity((Node(3, 0), Node(3, 0), Node(1, 0))).count_workers(Resources(cpus_per_worker=2)) == 2
    with pytest.raises(StageError, match=r"2 CPUs on one node, but the cluster has these nodes: 4 x 1 CPUs and 0 GPUs"):
        Capacity((Node(1, 0),) * 4).count_workers(Resources(cpus_per_worker=2))


@pytest.mark.parametrize(
    ("capacity", "resources", "missing"),
    [
        (Capacity((Node(8, 0),)), Resources(gpu=True), "these nodes: 1 x 8 CPUs and 0 GPUs; add nodes"),
        (Capacity((Node(2, 4),)), Resources(cpus_per_worker=4), "these nodes: 1 x 2 CPUs and 4 GPUs; add nodes"),
        (
            Capacity((Node(0, 0), Node(2, 0)), "spot"),
            Resources(gpu=True),
            "these nodes with the resource 'spot': 1 x 0",
        ),
        (Capacity((), "spot"), Resources(), "no node with the resource 'spot'; add nodes"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_what_is_missing(
    capacity: Capacity, resources: Resources, missing: str
) -> None:
    with pytest.raises(StageError, match=r"a worker needs .* on one node, but the cluster has ") as refusal:
        capacity.count_workers(resources)
    assert missing in str(refusal.value)
    assert "resources.wait_minutes" in str(refusal.value)


def test_workers_share_a_gpu_where_they_may_and_those_of_a_group_do_not() -> None:
    shared, node = Resources(gpu=True, workers_per_gpu=3), Capacity((Node(8, 2),))
    assert node.count_workers(shared) == 6
    assert list_needs(shared)["GPU"] == pytest.approx(1 / 3)
    assert node.count_workers(shared.for_group(1)) == 6
    assert node.count_workers(shared.for_group(2)) == 2
    assert list_needs(shared.for_group(2))["GPU"] == 1
    with pytest.raises(StageError, match="a worker needs 1 CPUs and 1/3 GPU on one node"):
        Capacity((Node(8, 0),)).count_workers(shared)


SHARED = """
import os, time, ray
from raypipe.experiment.schema import Resources
from raypipe.stages.ray_map import map_items

class Work:
    def __call__(self, row):
        begun = time.time()
        time.sleep(0.5)
        told = {"begun": begun, "ended": time.time(), "gpus": str(ray.get_gpu_ids()), "pid": os.getpid()}
        return {**row, **told}

ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
items = [{"item": number} for number in range(8)]
rows = list(map_items(Work, items, Resources(gpu=True, workers_per_gpu=2), name="share"))
print(len({row["pid"] for row in rows}), {row["gpus"] for row in rows})
print(any(a["begun"] < b["begun"] < a["ended"] for a in rows for b in rows if a["pid"] != b["pid"]))
"""


@pytest.mark.cluster
def test_two_actors_work_on_one_gpu_at_once() -> None:
    """Tell Ray about a GPU that does not exist; nothing computes on it."""
    done = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["2 {'[0]'}", "True"]


def test_a_worker_s_kind_of_node_is_asked_for_beside_what_it_takes() -> None:
    assert list_needs(Resources(cpus_per_worker=4, gpu=True)) == {"CPU": 4, "GPU": 1}
    assert list_needs(Resources(), "spot") == {"CPU": 1, "spot": 0.001}
