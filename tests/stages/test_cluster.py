from pathlib import Path

import pytest
import torch

from raypipe.config import Resources
from raypipe.errors import StageError
from raypipe.stages.cluster import Capacity, connected, own_device


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


def test_without_a_gpu_of_its_own_a_process_stays_on_the_cpu() -> None:
    assert own_device(gpu=False) == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_pytorch_cannot_use_is_an_error_not_a_slow_run() -> None:
    with pytest.raises(StageError, match=r"resources.gpu is true, but PyTorch .* set resources.gpu: false"):
        own_device(gpu=True)


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(StageError, match=r"no Ray cluster at '127.0.0.1:1'"),
        connected("127.0.0.1:1", tmp_path / "ray.log"),
    ):
        pass
