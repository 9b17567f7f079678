from pathlib import Path

import pytest

from raypipe.config import Resources
from raypipe.errors import StageError
from raypipe.stages.cluster import Capacity, connected


def test_as_many_workers_as_fit_but_no_more_than_wanted() -> None:
    assert Capacity(8, 0).workers(Resources(cpus_per_worker=2)) == 4
    assert Capacity(8, 0).workers(Resources(cpus_per_worker=2), wanted=3) == 3
    assert Capacity(8, 0).workers(Resources(cpus_per_worker=2), wanted=9) == 4
    assert Capacity(8, 2).workers(Resources(gpu=True)) == 2


@pytest.mark.parametrize(
    ("capacity", "resources"),
    [(Capacity(8, 0), Resources(gpu=True)), (Capacity(2, 4), Resources(cpus_per_worker=4))],
)
def test_what_can_never_be_placed_is_refused_with_what_is_missing(capacity: Capacity, resources: Resources) -> None:
    with pytest.raises(StageError, match=rf"cluster has {capacity.cpus} CPUs and {capacity.gpus} GPUs; add nodes"):
        capacity.workers(resources)


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(StageError, match=r"no Ray cluster at '127.0.0.1:1'"),
        connected("127.0.0.1:1", tmp_path / "ray.log"),
    ):
        pass
