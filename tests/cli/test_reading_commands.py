"""Commands that read stored results, which start without PyTorch: importing it would take most of their time."""

import subprocess
import sys
from pathlib import Path

import pytest

from raypipe.evaluation.results.compute import compute_result
from raypipe.progress.state import RunState, write_state
from raypipe.storage.store import Store
from tests.evaluation.handmade import hand_run

LIST_MODULES = """
import sys
from raypipe.cli.app import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a finished run."""
    storage = tmp_path_factory.mktemp("stored")
    store = Store.open(str(storage))
    compute_result(store, hand_run(store))
    write_state(store, RunState(run="hand", stages=[], state="done"))
    return storage


@pytest.mark.parametrize("command", ["status hand", "results hand --all", "report hand", "index", "store size"])
def test_no_command_that_only_reads_imports_pytorch(storage: Path, command: str) -> None:
    code = [sys.executable, "-c", LIST_MODULES, *command.split(), "--storage", str(storage)]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "torch" not in done.stderr.split()
