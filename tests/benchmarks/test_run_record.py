"""The record of models that were measured one by one."""

from typing import Any

import pytest

from benchmarks.run_record import add


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
