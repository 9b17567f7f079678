"""The environment of all tests: an empty home, and only the Ray variable that the documents tell users to set.

Several test processes share the cores and the memory, so each takes one thread and returns the memory that it frees.
"""

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
import torch

HOME = tempfile.mkdtemp(prefix="raypipe-home-")
"""Home of all tests of this process; Ray keeps its token there."""
for name in [name for name in os.environ if name.startswith("RAY_")]:
    del os.environ[name]
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it; a user's pipe has no width
os.environ |= {"HOME": HOME, "RAY_AUTH_MODE": "token"}  # Ray reads the mode once, when it is imported


LONGEST = ("faults", "ray", "readme", "launching", "readme-alone")
"""Groups of tests with a cluster, each of which a single process runs for minutes, in the order of their start.

A process takes the next group when two tests are left, so it often takes two neighbors. The groups of the README are
apart here, so that two processes share them.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests with Ray clusters last, because they take the longest, and other tests find most errors first.

    The longest groups of them come first, so that two processes end at about the same time.
    """

    def rank(item: pytest.Item) -> int:
        group = item.get_closest_marker("xdist_group")
        if group and group.args[0] in LONGEST:
            return 1 + LONGEST.index(group.args[0])
        return 1 + len(LONGEST) if item.get_closest_marker("cluster") else 0

    items.sort(key=rank)


@pytest.fixture(autouse=True, scope="session")
def _home() -> Iterator[None]:
    yield
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def _freed_memory_is_given_back() -> Iterator[None]:
    """Return freed memory to the system: the C library keeps gigabytes, and only glibc can be asked to release them."""
    yield
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
