"""Errors of workers that other processes cannot rebuild, as those of the commands and of many libraries."""

import io
import pickle
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raypipe.attacks.pgd import ProjectedGradient
from raypipe.base.errors import StageError
from raypipe.defenses.fast_training import FastTraining
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell, HardenSpec
from raypipe.progress.stage import stage_progress
from raypipe.stages.failures import name_cell_in_errors
from raypipe.stages.ray_map import Item, map_items
from raypipe.stages.search import search_settings
from raypipe.stages.worker_group import fit_in_group
from raypipe.storage.store import Store
from raypipe.training.recipe import Recipe

SPACE = {"space": {"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}}, "samples": 2}


def failing(kind: str) -> Callable[..., Item]:
    """Return a function that fails. Workers cannot import this module, so all that it needs is within it."""

    class CodeError(Exception):
        """An error whose type requires more than its message."""

        def __init__(self, message: str, *, code: int) -> None:
            super().__init__(message)
            self.code = code

    class LockedError(Exception):
        """An error that cannot be pickled."""

        def __init__(self, message: str) -> None:
            super().__init__(message)
            self.lock = threading.Lock()

    def fail(*_: Any) -> Item:
        raise CodeError("no license", code=402) if kind == "code" else LockedError("no license")

    return fail


def hardening(**search: Any) -> Cell:
    judge = ProjectedGradient(eps=0.1) if search else None
    defense = FastTraining(epochs=1, search=search or None)
    return Cell("harden", "convnet/fast_training", HardenSpec(defense=defense, recipe=Recipe(), seed=0, judge=judge))


@pytest.mark.parametrize(("kind", "name"), [("code", "CodeError"), ("locked", "LockedError")])
def test_an_error_names_its_cell_and_can_be_rebuilt_elsewhere(kind: str, name: str) -> None:
    with pytest.raises(StageError) as caught, name_cell_in_errors(hardening()):
        failing(kind)()
    rebuilt = pickle.loads(pickle.dumps(caught.value))
    assert caught.value.__cause__ is None, "Ray Tune would rebuild it"
    assert "in fail" in rebuilt.__notes__[0], "the traceback is kept"
    place = r"tests/stages/test_failures\.py:\d+"
    assert re.fullmatch(rf"convnet/fast_training: {name}: no license \({place}\)", str(rebuilt))


def test_an_error_of_the_stage_itself_stays_as_it_is() -> None:
    with pytest.raises(StageError, match=r"^no held-out tiles$"), name_cell_in_errors(hardening()):
        raise StageError("no held-out tiles")


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
def test_a_worker_of_a_fit_names_its_cell_and_the_error(two_nodes: None, tmp_path: Path) -> None:
    resources, store = Resources(train_workers=1, max_failures=0), Store.open(str(tmp_path))
    text = "fast_training unfinished: convnet/fast_training: CodeError: no license .*run again"
    with pytest.raises(StageError, match=text):
        fit_in_group(failing("code"), [hardening()], store, resources, 1)


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
def test_a_candidate_of_a_search_names_itself_and_the_error(two_nodes: None, tmp_path: Path) -> None:
    store, fit = Store.open(str(tmp_path)), failing("code")
    text = r"search failed: convnet/fast_training\S*: CodeError: no license .*run again"
    with (
        stage_progress(Console(file=io.StringIO()), "harden", 1, "epochs") as progress,
        pytest.raises(StageError, match=text),
    ):
        search_settings(hardening(**SPACE), fit, store, Resources(), progress)


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize(("kind", "name"), [("code", "CodeError"), ("locked", "LockedError")])
def test_a_task_names_its_cell_and_the_error(kind: str, name: str, two_nodes: None) -> None:
    items = [{"cell": "convnet/pgd/train"}]
    with pytest.raises(StageError, match=f"^attack failed: convnet/pgd/train: {name}: no license .*run again"):
        list(map_items(failing(kind), items, Resources(), name="attack"))
