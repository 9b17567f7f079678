from typing import Any

import pytest

from raypipe.config import Experiment, validate_experiment
from raypipe.listing import describe, list_files
from raypipe.plan import Plan, candidates, make_plan

RAW: dict[str, Any] = {
    "name": "t",
    "data": {"source": "synthetic", "sources_per_class": 4, "siblings": 2, "size": 32},
    "tiles": {"size": 32},
    "models": ["resnet18", "shufflenet_v2_x1_0"],
    "attacks": ["deepfool", "saliency_map"],
    "defenses": ["adversarial_training"],
}


def plan_of(**changes: Any) -> Plan:
    experiment: Experiment = validate_experiment({**RAW, **changes})
    return make_plan(experiment, describe(list_files(experiment), experiment, {}))


def keys(plan: Plan, *names: str) -> dict[str, str]:
    return {cell.name: cell.key for cell in plan.cells if all(name in cell.name for name in names)}


def test_the_grid_is_complete_and_no_cell_is_planned_twice() -> None:
    plan = plan_of()
    assert len(plan.grid) == 2 * 2 * 1
    assert len({cell.key for cell in plan.cells}) == len(plan.cells)
    assert {stage: len(plan.stage(stage)) for stage in ("ingest", "train", "attack", "harden", "evaluate")} == {
        "ingest": 1,
        "train": 2,
        "attack": 8,
        "harden": 4,
        "evaluate": 2 + 4 + 8,
    }


def test_inputs_come_before_what_needs_them() -> None:
    seen: set[str] = set()
    for cell in plan_of().cells:
        assert all(needed.key in seen for needed in cell.inputs.values())
        seen.add(cell.key)


def test_changing_one_attack_s_parameter_changes_only_what_depends_on_it() -> None:
    before, after = plan_of(), plan_of(attacks={"deepfool": {"overshoot": 0.5}, "saliency_map": None})
    changed = {cell.name for cell in before.cells} - {
        cell.name for cell in before.cells if cell.key in {other.key for other in after.cells}
    }
    assert changed == {cell.name for cell in before.cells if "deepfool" in cell.name}
    assert changed


def test_a_defense_s_setting_leaves_attacks_alone() -> None:
    before, after = plan_of(), plan_of(defenses={"adversarial_training": {"mix": 0.3}})
    assert {cell.key for cell in before.stage("attack")} == {cell.key for cell in after.stage("attack")}
    assert not {cell.key for cell in before.stage("harden")} & {cell.key for cell in after.stage("harden")}


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"storage": "elsewhere"},
        {"resources": {"train_workers": 7, "attack_actors": 3}},
        {"models": {"shufflenet_v2_x1_0": None, "resnet18": {"weights": "none"}}},
    ],
)
def test_what_does_not_change_a_result_does_not_change_a_key(changes: dict[str, Any]) -> None:
    assert {cell.key for cell in plan_of().cells} == {cell.key for cell in plan_of(**changes).cells}


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"tiles": {"size": 40}},
        {"tiles": {"size": 32, "split": "paper"}},
        {"tiles": {"size": 32, "train_fraction": 0.5}},
    ],
)
def test_what_changes_the_tiles_changes_every_key(changes: dict[str, Any]) -> None:
    assert not {cell.key for cell in plan_of().cells} & {cell.key for cell in plan_of(**changes).cells}


def test_without_defenses_training_tiles_are_not_attacked() -> None:
    plan = plan_of(defenses=[])
    assert {cell.spec.split for cell in plan.stage("attack")} == {"test"}
    assert not plan.stage("harden")
    assert [row.defense for row in plan.grid] == [None] * 4


def test_a_search_has_a_candidate_for_each_combination() -> None:
    search = {"mix": [0.3, 0.5], "learning_rate": [1e-3, 1e-4]}
    plan = plan_of(defenses={"adversarial_training": {"search": search, "validation": 0.25}})
    cell = plan.stage("harden")[0]
    found = candidates(cell)
    assert sorted((c.spec.defense.mix, c.spec.defense.learning_rate) for c in found) == [
        (0.3, 1e-4), (0.3, 1e-3), (0.5, 1e-4), (0.5, 1e-3),
    ]  # fmt: skip
    assert {c.spec.held_out for c in found} == {0.25}
    assert cell.key not in {c.key for c in found}


def test_without_a_search_the_cell_is_its_only_candidate() -> None:
    cell = plan_of().stage("harden")[0]
    assert candidates(cell) == [cell]
