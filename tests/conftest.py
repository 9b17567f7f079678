"""Several test processes share the cores and the memory: each takes one thread, and gives back what it freed."""

import ctypes
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _ray_s_workers_get_their_share() -> Iterator[None]:
    """At the priority that Ray gives them they would get a thirtieth of a core beside another test that computes."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_worker_niceness", "0")
        yield


@pytest.fixture(autouse=True, scope="module")
def _freed_memory_is_given_back() -> Iterator[None]:
    """The C library keeps what the tests freed, gigabytes of it after many networks; only glibc can be told not to."""
    yield
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
