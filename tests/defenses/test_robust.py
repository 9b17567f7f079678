"""The preset that chooses online adversarial training for a radius and a budget."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from raypipe.defenses import DefenseSettings
from raypipe.defenses.online import OnlineTraining
from raypipe.defenses.robust import Robust
from raypipe.execution.forecast.defense_work import count_training_steps


def read(**values: Any) -> OnlineTraining:
    defense = TypeAdapter(DefenseSettings).validate_python({"name": "robust", **values})
    assert isinstance(defense, OnlineTraining)
    return defense


@settings(deadline=None)  # the first count builds a tiny network
@given(st.integers(2, 2000))
def test_the_chosen_training_takes_the_budget(budget: int) -> None:
    """It takes no more passes than the plain epochs, and less than an epoch of its own fewer."""
    chosen = Robust(epochs=budget).choose()
    epoch = count_training_steps(chosen.model_copy(update={"epochs": 1, "eps_ramp": (0.0, 0.0)}))
    assert budget - epoch < chosen.epochs * epoch <= budget


def test_a_larger_budget_gets_a_stronger_attack() -> None:
    costs = [count_training_steps(read(epochs=budget)) for budget in (10, 60, 400)]
    assert costs[0] < costs[1] < costs[2]


@pytest.mark.parametrize(("given_settings", "norm", "eps"), [({}, "linf", 4 / 255), ({"norm": "l2"}, "l2", 0.5)])
def test_the_radius_is_the_one_asked_for(given_settings: dict[str, Any], norm: str, eps: float) -> None:
    assert read(**given_settings).ball == (norm, eps)
    assert read(**given_settings, eps="2/255").eps == 2 / 255


def test_a_time_replaces_the_epochs() -> None:
    chosen = read(seconds=600)
    assert chosen.time_limit == 600
    assert chosen.epochs >= 1000


def test_what_was_chosen_is_what_the_experiment_says() -> None:
    """The resolved settings are those of a defense, so that a reader sees them and a rerun needs no preset."""
    chosen = read(epochs=60)
    again = TypeAdapter(DefenseSettings).validate_python(chosen.model_dump(mode="json"))
    assert again == chosen
    assert chosen.name == "pgd_training"


def test_other_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="beta"):
        read(beta=6)
