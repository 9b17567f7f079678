"""Two runs on one store: no cell is fitted twice, what a run gives up is taken over, and the first result counts."""

import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from raypipe.experiment.load import validate_experiment
from raypipe.plan.cells import Cell
from raypipe.plan.listing import prepare
from raypipe.stages import claims
from raypipe.stages.claims import Claim, claim, fit_unclaimed
from raypipe.storage.store import Store

MODELS = ["resnet18", "googlenet", "convnet"]
EXPERIMENT = {"name": "tiny", "data": {"source": "synthetic"}, "models": MODELS, "attacks": ["fgsm"]}


@pytest.fixture
def cells(tmp_path: Path) -> tuple[Cell, ...]:
    return prepare(validate_experiment({**EXPERIMENT, "storage": str(tmp_path)})).plan.stage("train")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def test_two_runs_fit_each_cell_once(cells: tuple[Cell, ...], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.02)
    fitted: Counter[str] = Counter()

    def fit(own: Sequence[Cell]) -> None:
        for cell in own:
            fitted[cell.name] += 1
            time.sleep(0.05)
            cell.publish(store)

    said: list[str] = []
    shared = [
        threading.Thread(target=fit_unclaimed, args=(some, store, fit, said.append)) for some in (cells, cells[1:])
    ]
    for thread in shared:
        thread.start()
    for thread in shared:
        thread.join(60)
    assert fitted == dict.fromkeys((cell.name for cell in cells), 1)
    assert all("waiting for another run on this store, which fits" in line for line in said)
    assert store.list_files(claims.FOLDER) == []


def test_cells_that_a_run_gives_up_are_fitted(cells: tuple[Cell, ...], store: Store) -> None:
    def fail(_: Sequence[Cell]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_unclaimed(cells, store, fail, print)
    with claim(cells, store) as mine:
        assert mine == {cell.key for cell in cells}


@pytest.mark.parametrize("ended", ["process", "renewal"])
def test_a_run_that_ended_without_a_word_has_no_claim(ended: str, cells: tuple[Cell, ...], store: Store) -> None:
    host, machine = claims._identify_machine()
    dead = {"process": (host, 2**22 + 1, time.time()), "renewal": ("elsewhere", 1, time.time() - claims.STALE_SECONDS)}
    for where, pid, renewed in (("elsewhere", 1, time.time()), (host, os.getpid(), time.time())):
        other = Claim(token="other", host=where, machine=machine, pid=pid, renewed=renewed)
        store.write_bytes(f"claims/{cells[0].key}.json", other.model_dump_json().encode())
        with claim(cells, store) as mine:
            assert mine == {cell.key for cell in cells[1:]}
    where, pid, renewed = dead[ended]
    other = Claim(token="other", host=where, machine=machine, pid=pid, renewed=renewed)
    store.write_bytes(f"claims/{cells[0].key}.json", other.model_dump_json().encode())
    with claim(cells, store) as mine:
        assert mine == {cell.key for cell in cells}


def test_the_first_artifact_counts(cells: tuple[Cell, ...], store: Store) -> None:
    cells[0].publish(store, run="first")
    cells[0].publish(store, run="second")
    assert (cells[0].manifest(store) or {})["run"] == "first"
