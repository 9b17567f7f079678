"""The facts about a data set in the record of a run."""

from pathlib import Path

from raypipe.experiment.load import validate_experiment
from raypipe.plan.description import describe_run
from raypipe.plan.listing import prepare
from tests.data.layouts import CHAOYANG_FILES, write


def test_a_restriction_of_the_data_set_reaches_the_run_and_its_stamps(tmp_path: Path) -> None:
    raw = {
        "name": "withheld",
        "storage": str(tmp_path / "store"),
        "data": {"source": "chaoyang", "path": write(tmp_path, CHAOYANG_FILES, as_zip=False)},
        "tiles": {"size": 32, "split": "official"},
        "models": ["resnet18"],
        "attacks": ["deepfool"],
    }
    prepared = prepare(validate_experiment(raw))
    (cell,) = prepared.plan.stage("ingest")
    cell.publish(prepared.store, split="official", leakage=0.0, synthetic=False)
    source = prepared.listings[0].source
    run = describe_run("withheld", prepared.plan, source, "chaoyang", prepared.store)
    assert run.restriction == source.restriction is not None
    (stamp,) = run.stamps["official"]
    assert stamp.startswith("NOT FOR REDISTRIBUTION: Chaoyang's license forbids")
