from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from raypipe.base.errors import ConfigError
from raypipe.evaluation.protocols import CheckAttack
from raypipe.experiment.load import validate_experiment
from raypipe.experiment.schema import Experiment
from raypipe.plan.cells import STAGES, find_unfinished_fits, list_candidates
from raypipe.plan.graph import Plan, make_plan
from raypipe.plan.listing import describe, list_files
from raypipe.storage.store import Store

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
    return make_plan(experiment, [describe(listing, experiment, {}) for listing in list_files(experiment)])


def keys(plan: Plan, *names: str) -> dict[str, str]:
    return {cell.name: cell.key for cell in plan.cells if all(name in cell.name for name in names)}


def test_every_model_is_tested_in_every_way_and_no_cell_is_planned_twice() -> None:
    plan = plan_of(evaluation={"curves": {}, "checks": None})
    assert len({cell.key for cell in plan.cells}) == len(plan.cells)
    models, attacks = 2, 2
    hardened = models * attacks
    assert {stage: len(plan.stage(stage)) for stage in STAGES} == {
        "ingest": 1,
        "overlap": 0,
        "import": 0,
        "train": models,
        "attack": models * attacks + (models + hardened) * attacks,  # training tiles, then test tiles of every model
        "harden": hardened,
        "diagnose": 0,
        "certify": 0,
        "corrupt": 0,
        "pattern": 0,
        "perturb": 0,
        # clean; white-box; static; transfer from the other backbone
        "evaluate": (models + hardened) * (1 + attacks + attacks) + hardened * attacks,
    }
    protocols = Counter((p.protocol, p.subject.defense) for p in plan.pairings)
    assert protocols == {
        ("clean", None): 2,
        ("white-box", None): 4,
        ("transfer", None): 4,
        ("clean", "adversarial_training"): 4,
        ("adaptive", "adversarial_training"): 8,
        ("static", "adversarial_training"): 8,
        ("transfer", "adversarial_training"): 8,
    }


def test_static_tiles_were_made_against_the_model_before_it_was_hardened() -> None:
    for pairing in plan_of().pairings:
        if pairing.protocol == "static":
            assert pairing.source is pairing.subject.undefended
        elif pairing.protocol == "transfer":
            assert pairing.source is not None
            assert pairing.source.undefended is None
            assert pairing.source.model != pairing.subject.model
        elif pairing.protocol != "clean":
            assert pairing.source is pairing.subject


@pytest.mark.parametrize("transfer", [True, False])
def test_other_models_are_shown_tiles_of_the_whole_budget_and_only_they(transfer: bool) -> None:
    bounded = {"name": "apgd", "max_iterations": 5}
    evaluation = {"attacks": {"square": {"max_queries": 5}}, "bounded": bounded, "transfer": transfer}
    plan = plan_of(attacks={"pgd": {"max_iterations": 5}, "deepfool": None}, evaluation=evaluation)
    shown = set()
    for pairing in plan.pairings:
        if pairing.protocol == "clean":
            continue
        tiles, itself = pairing.predictions.inputs["tiles"], pairing.source is pairing.subject
        assert tiles.spec.attack == pairing.settings
        if hasattr(pairing.settings, "early_stop"):
            assert pairing.settings.early_stop == itself
        shown |= set() if itself else {tiles.key}
        assert itself or pairing.source.undefended is None
    assert shown
    for cell in plan.stage("attack"):
        if cell.spec.split == "train":
            assert not getattr(cell.spec.attack, "early_stop", False)
        elif not getattr(cell.spec.attack, "early_stop", True):
            assert cell.key in shown
    assert len({cell.name for cell in plan.cells}) == len(plan.cells)
    assert all(cell.spec.planted.early_stop for cell in plan.stage("diagnose"))


def test_without_another_model_no_whole_budget_is_spent() -> None:
    plan = plan_of(models=["convnet"], attacks={"pgd": {"max_iterations": 5}}, defenses=[])
    assert plan.stage("attack")
    assert all(getattr(cell.spec.attack, "early_stop", True) for cell in plan.stage("attack"))


def test_the_same_attack_under_two_names_is_run_once() -> None:
    """Check that the checks' reference is an attack of the evaluation if their settings and radii are equal."""
    bounded = {"name": "pgd", "max_iterations": 3}
    evaluation = {"attacks": {"mine": {**bounded, "eps": "4/255"}}, "bounded": bounded, "checks": {"eps": "4/255"}}
    plan = plan_of(evaluation=evaluation)
    itself = [p for p in plan.pairings if p.source is p.subject and p.subject is plan.subjects[0]]
    (mine,) = (p for p in itself if p.attack == "mine")
    (reference,) = (p for p in itself if p.attack == CheckAttack.REFERENCE)
    assert mine.predictions.key == reference.predictions.key


def test_the_ensemble_meets_every_bounded_threat_model_after_the_other_attacks() -> None:
    plan = plan_of(
        attacks={"deepfool": None, "pgd": {"eps": "3/255"}, "aimed": {"name": "pgd", "eps": 0.1, "target": "random"}},
        evaluation={"attacks": {"l2": {"name": "apgd", "norm": "l2", "eps": 0.3}}, "curves": {"linf": ["1/255"]}},
    )
    for subject in plan.subjects:
        ensembles = {p.attack: p for p in plan.pairings if p.subject is subject and p.role == "curve"}
        assert {attack: p.radii for attack, p in ensembles.items()} == {
            "autoattack linf": (1 / 255, 3 / 255),
            "autoattack l2": (0.3,),
        }
        for pairing in ensembles.values():
            tiles = pairing.predictions.inputs["tiles"]
            known = {cell.name.removeprefix(f"{subject.name}/").removesuffix("/test") for cell in tiles.earlier_attacks}
            assert known == {"deepfool", "pgd", "aimed", "l2", CheckAttack.REFERENCE}
            assert {cell.inputs["model"].key for cell in tiles.earlier_attacks} == {subject.cell.key}


def test_a_check_s_weaker_attack_skips_what_the_reference_fools() -> None:
    plan = plan_of(evaluation={"curves": {"linf": ["8/255"]}, "checks": {"eps": "8/255"}})
    skipping = {CheckAttack.HALF_STEPS, CheckAttack.TWICE_RESTARTS, CheckAttack.SINGLE_STEP, CheckAttack.BLACK_BOX}
    skipping.add(CheckAttack.HALF_EPS)
    for pairing in plan.pairings:
        if pairing.role == "check":
            after = CheckAttack.REFERENCE if pairing.attack in skipping else None
            assert pairing.after == after
            earlier = [cell.name for cell in pairing.predictions.inputs["tiles"].earlier_attacks]
            assert earlier == ([f"{pairing.subject.name}/{after}/test"] if after else [])


def test_half_the_eps_runs_on_all_tiles_where_its_radius_is_reported() -> None:
    plan = plan_of(evaluation={"curves": {"linf": ["4/255", "8/255"]}, "checks": {"eps": "8/255"}})
    (half, *_) = (pairing for pairing in plan.pairings if pairing.attack == CheckAttack.HALF_EPS)
    assert half.after is None
    assert not half.predictions.inputs["tiles"].earlier_attacks


def test_the_ensemble_can_be_left_out() -> None:
    plan = plan_of(attacks={"pgd": {"eps": "3/255"}}, evaluation={"autoattack": None})
    assert not [pairing for pairing in plan.pairings if pairing.role == "curve"]


def test_every_seed_and_every_split_has_models_of_its_own() -> None:
    plan = plan_of(seeds=[1, 2], tiles={"size": 32, "split": ["group", "paper"]}, evaluation={"checks": None})
    assert len(plan.stage("ingest")) == 2
    assert len(plan.stage("train")) == 2 * 2 * 2
    assert {(s.split, s.seed) for s in plan.subjects} == {(k, n) for k in ("group", "paper") for n in (1, 2)}
    assert len({subject.cell.name for subject in plan.subjects}) == len(plan.subjects)
    for pairing in plan.pairings:
        if pairing.source:
            assert (pairing.source.split, pairing.source.seed) == (pairing.subject.split, pairing.subject.seed)


def test_a_defense_that_learns_from_no_attack_hardens_once() -> None:
    plan = plan_of(defenses=["bit_depth_reduction"])
    assert [subject.hardened_on for subject in plan.subjects if subject.defense] == [None, None]
    assert {cell.spec.split for cell in plan.stage("attack")} == {"test"}


def test_hardened_models_are_attacked_after_hardening() -> None:
    stages = [cell.stage for cell in plan_of().cells]
    first, last = stages.index("harden"), len(stages) - 1 - stages[::-1].index("attack")
    assert first < last < stages.index("diagnose")


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
    assert changed == {cell.name for cell in before.cells if "deepfool" in cell.name or "autoattack" in cell.name}, (
        "the ensemble starts from what other attacks have found"
    )
    assert changed


def test_a_defense_s_setting_leaves_alone_what_comes_before_it() -> None:
    before, after = plan_of(), plan_of(defenses={"adversarial_training": {"mix": 0.3}})

    def attacks(plan: Plan, victim: str) -> set[str]:
        return {cell.key for cell in plan.stage("attack") if cell.inputs["model"].stage == victim}

    assert attacks(before, "train") == attacks(after, "train")
    assert not attacks(before, "harden") & attacks(after, "harden")
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
    assert {pairing.protocol for pairing in plan.pairings} == {"clean", "white-box", "transfer"}


def test_a_search_has_a_candidate_for_each_combination() -> None:
    search = {"mix": [0.3, 0.5], "learning_rate": [1e-3, 1e-4]}
    plan = plan_of(defenses={"adversarial_training": {"search": search}})
    cell = plan.stage("harden")[0]
    found = list_candidates(cell)
    assert sorted((c.spec.defense.mix, c.spec.defense.learning_rate) for c in found) == [
        (0.3, 1e-4), (0.3, 1e-3), (0.5, 1e-4), (0.5, 1e-3),
    ]  # fmt: skip
    assert cell.key not in {c.key for c in found}


def test_a_candidate_that_is_another_defense_s_model_is_fitted_once(tmp_path: Path) -> None:
    own = {"name": "adversarial_training", "mix": 0.3}
    search = {"name": "adversarial_training", "search": {"mix": [0.3, 0.5]}}
    cells = plan_of(defenses={"own": own, "searched": search}).stage("harden")
    fits = find_unfinished_fits(cells, Store.open(str(tmp_path)))
    assert len({fit.key for fit in fits}) == len(fits) == len(cells), (
        "for each pair of cells the shared one, and another"
    )
    assert {cell.key for cell in cells if cell.name.endswith("/own")} < {fit.key for fit in fits}


def test_without_a_search_the_cell_is_its_only_candidate() -> None:
    cell = plan_of().stage("harden")[0]
    assert list_candidates(cell) == [cell]


def test_a_search_has_a_cell_for_each_candidate_judged_by_the_attack_of_the_evaluation() -> None:
    search = {"space": {"beta": [1, 6], "learning_rate": [1e-3, 1e-4]}, "samples": 3, "tiles": 40}
    plan = plan_of(
        defenses={"trades": {"search": search}, "plain": {"name": "trades"}}, evaluation={"checks": {"eps": "2/255"}}
    )
    searched, plain = (next(cell for cell in plan.stage("harden") if cell.name.endswith(name))
                       for name in ("/trades", "/plain"))  # fmt: skip
    found = list_candidates(searched)
    assert len({cell.key for cell in (*found, searched, plain)}) == 3 + 2
    for cell in found:
        assert cell.spec.defense.search is None
        assert (cell.spec.judge.name, cell.spec.judge.eps, cell.spec.judge.early_stop) == ("apgd", 2 / 255, True)
        assert cell.spec.judged_tiles == 40
        assert set(cell.inputs) == {"tiles", "model"}
    assert plain.spec.judge is None
    stopped = plan_of(defenses={"trades": {"early_stopping": "reported"}}, evaluation={"checks": {"eps": "2/255"}})
    assert stopped.stage("harden")[0].spec.judge == found[0].spec.judge
    assert plain.spec.model_dump().keys() == {"defense", "recipe", "seed"}, "keys from before the search are kept"
    more = plan_of(defenses={"trades": {"search": {**search, "samples": 4}}}, evaluation={"checks": {"eps": "2/255"}})
    larger = next(cell for cell in more.stage("harden") if cell.name.endswith("/trades"))
    assert {cell.key for cell in found} < {cell.key for cell in list_candidates(larger)}, "these are not computed again"


def test_a_search_without_held_out_tiles_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"train.validation"):
        plan_of(defenses={"trades": {"search": {"space": {"beta": [1, 6]}}}}, train={"validation": 0})
