"""Several defenses in one experiment on a real cluster, each trained by two workers."""

from collections.abc import Callable

import pytest

from raypipe.evaluation.results.result import load_result
from raypipe.experiment.schema import Experiment
from raypipe.storage.store import Store
from tests.stages.conftest import run

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.full,
    pytest.mark.xdist_group("ray"),
    pytest.mark.usefixtures("two_nodes"),
]


def test_online_certified_and_mixed_defenses_go_from_the_file_to_the_report(tiny: Callable[..., Experiment]) -> None:
    experiment = tiny(
        models=["convnet"],
        attacks={"deepfool": {"max_iterations": 5}, "ddn": {"max_iterations": 4}},
        defenses={
            "adversarial_training": {"epochs": 1, "attacks": "mixture"},
            "trades": {"epochs": 2, "steps": 2, "awp": 0.005, "early_stopping": True},
            "randomized_smoothing": {"epochs": 1, "samples": 2, "selection": 5, "estimation": 40, "sigma": 0.1},
            "interval_bound_propagation": {"epochs": 2},
        },
        evaluation={
            "tiles": 5,
            "curves": {"linf": ["1/255"]},
            "autoattack": {"max_iterations": 3, "max_queries": 10},
            "bounded": {"name": "pgd", "max_iterations": 3},
            "checks": {"max_queries": 10, "planted_tiles": 15},
        },
        # A group of two workers takes all CPUs.
        resources={"train_workers": 1, "harden_workers": 2, "attack_batch": 8},
    )
    result, text = run(experiment)
    store = Store.open(experiment.storage)
    models = [store.manifest("model", key) or {} for key in store.list_directories("artifacts/model")]
    assert [model["workers"] for model in models if model["stage"] == "harden"] == [2] * len(experiment.defenses)
    assert not store.list_directories("scratch/train")

    rows = result.records.to_pylist()
    hardened = [f"convnet/{name}" for name in experiment.defenses]
    assert [row["subject"] for row in rows if row["protocol"] == "clean"] == ["convnet", *hardened]
    for subject in hardened:
        protocols = {row["protocol"] for row in rows if row["subject"] == subject}
        assert protocols == {"clean", "clean on attacked tiles", "adaptive", "static", "worst case"}

    proved = result.certified.to_pylist()
    assert {(row["subject"], row["norm"]) for row in proved} == {
        ("convnet/randomized_smoothing", "l2"),
        ("convnet/interval_bound_propagation", "linf"),
    }
    for row in proved:
        if row["norm"] == "linf":
            assert row["certified_accuracy"] <= row["robust_accuracy"]
    checked = {row["subject"]: row for row in result.checks.to_pylist() if "certificate" in row["check"]}
    bounded = checked["convnet/interval_bound_propagation"]
    assert bounded["figure"].startswith("0 of "), "no certificate is broken"
    assert bounded["verdict"] == "not applicable", "two epochs prove something of fewer than the 11 tiles of a pass"
    assert set(checked) == {row["subject"] for row in proved}
    assert "Certified" in text
    assert load_result(store, "tiny").certified.equals(result.certified)
