"""The space of a search: its values are checked before anything runs, and its candidates are drawn from its seed."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from raypipe.defenses import DEFENSES
from raypipe.defenses.online import OnlineTraining
from raypipe.defenses.search import Range


def defense(name: str = "trades", **search: Any) -> OnlineTraining:
    settings = DEFENSES[name].model_validate({"name": name, "epochs": 4, "search": search})
    assert isinstance(settings, OnlineTraining)
    return settings


def test_candidates_have_values_of_the_space_and_nothing_else_changes() -> None:
    space = {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "beta": [1, 3, 6],
        "epochs": {"low": 2, "high": 9},
    }
    written = defense(space=space, samples=12)
    found = written.list_candidates()
    assert len({each.model_dump_json() for each in found}) == len(found) == 12
    assert {each.beta for each in found} <= {1, 3, 6}  # type: ignore[attr-defined]
    assert all(1e-4 <= each.learning_rate <= 1e-2 for each in found)
    assert all(isinstance(each.epochs, int) and 2 <= each.epochs <= 9 for each in found)
    assert all(each.search is None and each.eps == written.eps for each in found)
    assert found == written.list_candidates(), "the draws come from the seed"
    assert found != defense(space=space, samples=12, seed=1).list_candidates()


def test_fewer_combinations_than_samples_are_each_tried_once() -> None:
    found = defense(space={"beta": [1, 6], "eps": ["2/255", "4/255"]}, samples=50).list_candidates()
    assert sorted((each.beta, each.eps) for each in found) == [  # type: ignore[attr-defined]
        (1, 2 / 255), (1, 4 / 255), (6, 2 / 255), (6, 4 / 255),
    ]  # fmt: skip


def test_tpe_proposes_new_settings_near_the_better_ones() -> None:
    """Score candidates by their distance from one corner of the space: later rounds come closer to it."""
    space = {
        "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "beta": [1, 3, 6],
        "eps_ramp": [[0, 0], [0, 0.5]],
    }
    written = defense(space=space, samples=40, searcher="tpe", per_round=4)

    def score(each: Any) -> float:
        return -abs(math.log10(each.learning_rate) + 2) - abs(each.beta - 3) - each.eps_ramp[1]

    tried = [(each, score(each)) for each in written.list_candidates()[:4]]
    while later := written.propose_candidates(tried):
        assert later == written.propose_candidates(tried), "the same results give the same proposals"
        tried += [(each, score(each)) for each in later]
    assert len({each.model_dump_json() for each, _ in tried}) == len(tried) == 40
    assert all(1e-4 <= each.learning_rate <= 1e-1 and each.search is None for each, _ in tried)
    scores = [score for _, score in tried]
    drawn = [score(each) for each in written.list_candidates()]
    assert np.mean(scores[-20:]) > np.mean(drawn) + 0.5


def test_tpe_ends_with_an_exhausted_space() -> None:
    written = defense(space={"beta": [1, 3, 6]}, samples=9, searcher="tpe", per_round=2)
    first = written.list_candidates()[:2]
    (last,) = written.propose_candidates([(each, 0.5) for each in first])
    assert {each.beta for each in [*first, last]} == {1, 3, 6}  # type: ignore[attr-defined]
    assert written.propose_candidates([(each, 0.5) for each in [*first, last]]) == []


def test_tpe_without_optuna_is_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    written = defense(space={"beta": [1, 6]}, searcher="tpe")
    assert written.find_incompatibility("resnet18") is None
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install 'raypipe[optuna]'" in (written.find_incompatibility("resnet18") or "")
    assert defense(space={"beta": [1, 6]}).find_incompatibility("resnet18") is None


def test_a_logarithmic_range_is_uniform_in_orders_of_magnitude() -> None:
    random = np.random.default_rng(0)
    values = [math.log10(Range(low=1e-4, high=1, log=True).draw(random)) for _ in range(2000)]
    assert sum(values) / len(values) == pytest.approx(-2, abs=0.1)
    assert (min(values), max(values)) == (pytest.approx(-4, abs=0.05), pytest.approx(0, abs=0.05))


def test_without_a_search_the_settings_are_the_only_candidate_and_keep_their_key() -> None:
    plain = DEFENSES["trades"].model_validate({"name": "trades"})
    assert list(plain.list_candidates()) == [plain]
    assert "search" not in plain.model_dump()
    assert not plain.needs_held_out
    assert defense(space={"beta": [1]}).needs_held_out


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"space": {"betta": [1]}}, "search.space.betta: no such setting; expected some of .*beta"),
        ({"space": {"norm": ["l2"]}}, "search.space.norm: no such setting"),
        ({"space": {"beta": [1, -1]}}, "search.space.beta = -1: .*greater than or equal to 0"),
        ({"space": {"epochs": {"low": 0, "high": 3}}}, "search.space.epochs = 0.0: .*greater than or equal to 1"),
        ({"space": {"beta": []}}, "at least one value"),
        ({"space": {}}, "at least 1 item"),
        ({"space": {"beta": {"low": 3, "high": 1}}}, "expected low < high, got 3 and 1"),
        ({"space": {"beta": {"low": 0, "high": 1, "log": True}}}, "expected a positive number"),
    ],
)
def test_an_error_of_the_space_is_found_before_anything_runs(search: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        defense(**search)
