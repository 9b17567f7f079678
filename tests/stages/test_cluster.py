import subprocess
import sys
from pathlib import Path

import pytest
import torch

from raypipe.base.errors import StageError
from raypipe.stages.cluster import connect, get_own_device


def test_without_a_gpu_of_its_own_a_process_stays_on_the_cpu() -> None:
    assert get_own_device(gpu=False) == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_pytorch_cannot_use_is_an_error_not_a_slow_run() -> None:
    with pytest.raises(StageError, match=r"resources.gpu is true, but PyTorch .* set resources.gpu: false"):
        get_own_device(gpu=True)


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Run in a process of its own, because this one may be connected to a cluster already."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom raypipe.stages.cluster import connect\n"
        "with connect('127.0.0.1:1', Path(sys.argv[1])):\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "ray.log")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "StageError: no Ray cluster at '127.0.0.1:1'" in done.stderr


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("two_nodes")
def test_a_connected_process_is_not_taken_to_another_cluster(tmp_path: Path) -> None:
    with (
        pytest.raises(StageError, match=r"connected to the Ray cluster at .* already, not to 127.0.0.1:1"),
        connect("127.0.0.1:1", tmp_path / "ray.log"),
    ):
        pass


@pytest.mark.xdist_group("ray")
def test_tests_that_share_a_cluster_take_turns(request: pytest.FixtureRequest) -> None:
    """Check the marks of groups, which pass between pytest-xdist and pytest and broke once.

    Without groups, every process starts the cluster that they share.
    """
    if request.config.getoption("loadgroup", default=False):
        assert request.node.nodeid.endswith("@ray")
