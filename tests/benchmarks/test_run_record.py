"""The record of models that were measured one by one."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.run_record import add, describe, drop_places
from raypipe.evaluation.results.compute import compute_result
from raypipe.report.results import Results
from raypipe.storage.store import Store
from tests.evaluation.handmade import hand_run

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def record(model: str, **settings: Any) -> dict[str, Any]:
    experiment = {"name": model, "models": {model: {"name": model}}, "train": {"epochs": 25, **settings}}
    return {"models": {model: {"checks": {"pass": 16}}}, "experiment": experiment}


def test_a_record_takes_the_models_of_another_run() -> None:
    both = add(record("two", seed=0), record("one"))
    assert list(both["models"]) == list(both["experiment"]["models"]) == ["one", "two"]
    assert both["experiment"]["name"] == "one"


def test_runs_with_other_settings_do_not_share_a_record() -> None:
    with pytest.raises(SystemExit, match=r"their settings differ: train\.epochs$"):
        add(record("two", epochs=5), record("one"))


def test_a_record_names_no_place_on_the_machine_that_measured_it() -> None:
    data = {"source": "lc25000", "path": "/there/tiles", "groups": "/there/groups.csv"}
    external = {"other": {"data": {"source": "ebhi_seg", "path": "/there/other"}, "labels": {"Normal": "colon_n"}}}
    kept = drop_places(
        {"name": "one", "storage": "/there/results", "data": data, "evaluation": {"tiles": 5, "external": external}}
    )
    assert "/there" not in str(kept)
    assert kept["evaluation"]["external"]["other"] == {"data": {"source": "ebhi_seg"}, "labels": {"Normal": "colon_n"}}
    assert drop_places({"data": data, "evaluation": {"external": None}})["data"] == {"source": "lc25000"}


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_no_record_that_is_kept_names_a_path_of_its_machine(path: Path) -> None:
    assert not re.findall(r'"(?:/|[A-Za-z]:\\\\|file:)[^"]*"', path.read_text())


def test_a_record_has_every_threat_that_was_measured(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    run = hand_run(store)
    results = Results.from_run(run, compute_result(store, run), store)
    subject = run.subjects[-1].id
    facts = describe(results, subject)
    threats = {row["threat"]: row["accuracy"] for row in facts["overview"]}
    worst = {row["eps"]: row["accuracy"] for row in facts["accuracies"] if row["protocol"] == "worst case"}
    assert threats["worst case"] in worst.values()
    assert "subject" not in facts["overview"][0]
    assert "corruptions" not in facts, "what was not measured has no entry"
