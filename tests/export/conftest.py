import sys
from functools import cache

import pytest

from raypipe.evaluation.results.run import Run
from raypipe.export.write import Export, export_model
from raypipe.storage.store import Store
from tests.evaluation.handmade import HARDENED
from tests.export.exporting import TRANSFORMS, Exporter, stored


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    """Return a function that exports the hardened model with an input transform, once for all tests of its files."""

    @cache
    def export(transform: str) -> tuple[Store, Run, Export]:
        folder = tmp_path_factory.mktemp("run")
        store, run = stored(folder, TRANSFORMS[transform])
        return store, run, export_model(store, "hand", HARDENED, folder / "exported")

    return export


@pytest.fixture
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the ONNX extra, as if it were not installed, for tests of other files."""
    monkeypatch.setitem(sys.modules, "onnxscript", None)
