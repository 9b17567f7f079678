"""Evaluations of one model that were made before, stopped, or stand beside others in a store."""

import copy
from pathlib import Path
from typing import Any

import pytest

import raypipe
from raypipe.evaluation.results.result import load_result
from raypipe.models.classifier import Classifier
from raypipe.storage.store import Store
from tests.evaluation.handmade import hand_run
from tests.execution.one_model import NAMES, batch, command, list_finished


def test_a_finished_evaluation_is_reused_unless_it_is_forced(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    few = [word for field in ("autoattack=null", "checks=null", "curves={}") for word in ("--set", field)]
    asked = ["evaluate", "exported", "tiles", "--attacks", "fgsm", "--tiles", "6", *few, "--out", str(out), "--quiet"]
    assert command(monkeypatch, place, *asked) == 0
    first, said = list_finished(out), capsys.readouterr().out
    assert "Results: " in said
    assert "tiles done" not in said, "no progress"
    assert command(monkeypatch, place, *asked) == 0
    assert list_finished(out) == first
    assert command(monkeypatch, place, *asked, "--force") == 0
    again = list_finished(out)
    assert again.keys() == first.keys()
    assert all(again[path] > first[path] for path in first)


def test_a_stopped_attack_says_what_is_kept_and_continues(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = ["attack", "exported", "tiles", "--attack", "fgsm", "--tiles", "6", "--out", str(out), "--quiet"]

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr("raypipe.execution.attack.tabulate_adversarials", stopped)
        assert command(stopping, place, *asked) == 130
    assert capsys.readouterr().out == (
        f"Stopped by SIGINT while it attacked. Finished shards are kept in {out}: run the same command again to "
        "continue.\n"
    )
    assert command(monkeypatch, place, *asked) == 0
    said = capsys.readouterr().out
    assert "Adversarial tiles: " in said
    assert "passes per tile" not in said, "no table"
    assert command(monkeypatch, place, *asked) == 2
    assert "give a new folder, or --force" in capsys.readouterr().err
    assert command(monkeypatch, place, *asked, "--force") == 0
    assert len(list(out.glob("images/*/*.png"))) >= 5, "all but the broken file, if it is among the six"


def test_an_attack_of_the_evaluation_that_a_check_makes_too_is_made_once(trained: Classifier, tmp_path: Path) -> None:
    images, labels = batch(6, first=0)
    bounded = {"name": "pgd", "max_iterations": 3}
    settings = {
        "bounded": bounded,
        "autoattack": {"max_iterations": 3, "max_queries": 5},
        "curves": {"linf": [4 / 255]},
        "checks": {"eps": 4 / 255, "max_queries": 5, "planted_tiles": 15},
    }
    attacks = {"mine": {**bounded, "eps": 4 / 255}}
    result = raypipe.evaluate(trained, images, labels, attacks, to=str(tmp_path / "out"), **settings)
    names = [row["cell"] for row in result.costs.to_pylist() if row["stage"] == "attack"]
    assert "model/mine/test" in names
    assert "model/check/reference/test" not in names
    assert "model/autoattack linf/test" in names
    assert "check/reference" in result.records["attack"].to_pylist()


def test_an_evaluation_goes_on_where_it_was_stopped(
    trained: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = batch(6, first=0)
    budget = {"max_iterations": 3, "max_queries": 5}
    settings = {"curves": {"linf": [4 / 255]}, "autoattack": budget, "checks": None, "to": str(tmp_path / "out")}

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr("raypipe.execution.evaluate.tabulate_predictions", stopped)
        with pytest.raises(KeyboardInterrupt):
            raypipe.evaluate(trained, images, labels, ["deepfool"], **settings)
    stopped_at = list_finished(tmp_path / "out")
    first = raypipe.evaluate(trained, images, labels, ["deepfool"], **settings)
    after_first = list_finished(tmp_path / "out")
    assert stopped_at.items() <= after_first.items()
    again = raypipe.evaluate(trained, images, labels, ["deepfool", "fgsm"], **settings)
    after_again = list_finished(tmp_path / "out")
    assert after_first.items() <= after_again.items()
    assert len(after_again) == len(after_first) + 4, "the other attack, the ensemble after it, and two predictions"
    before = [row for row in again.records.to_pylist() if row["attack"] == "deepfool"]
    assert before == [row for row in first.records.to_pylist() if row["attack"] == "deepfool"]
    costs = [
        {row["cell"]: row["seconds"] for row in result.costs.to_pylist() if "autoattack" not in row["cell"]}
        for result in (first, again)
    ]
    assert costs[0].items() <= costs[1].items()


def test_an_evaluation_is_reported_and_compared_beside_the_run_of_an_experiment(
    trained: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(str(tmp_path))
    hand_run(store)
    images, labels = batch(6, first=0)
    settings: dict[str, Any] = {"curves": {}, "autoattack": None, "checks": None, "to": str(tmp_path)}
    first = raypipe.evaluate(trained, images, labels, ["fgsm"], name="first", **settings)
    raypipe.evaluate(trained, images, labels, ["deepfool"], name="second", **settings)
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
    again = load_result(store, "first")
    assert again.records.equals(first.records), "the second evaluation leaves the first one unchanged"
    for words in (["report", "first"], ["compare", "hand", "first", "second"], ["index"], ["status", "first"]):
        capsys.readouterr()
        assert command(monkeypatch, tmp_path, *words, "--storage", str(tmp_path)) == 0, capsys.readouterr().err
    index = (tmp_path / "index.html").read_text()
    assert all(name in index for name in ("hand", "first", "second"))
    with pytest.raises(FileExistsError, match="has a run 'hand' of an experiment: give the model another name"):
        raypipe.evaluate(trained, images, labels, ["fgsm"], name="hand", **settings)


def test_what_was_found_out_is_not_taken_for_other_labels_or_another_model(trained: Classifier, tmp_path: Path) -> None:
    images, labels = batch(6, first=0)
    budget = {"max_iterations": 3, "max_queries": 5}
    settings = {"checks": None, "curves": {}, "autoattack": budget, "to": str(tmp_path / "out")}
    first = raypipe.evaluate(trained, images, labels, ["fgsm"], **settings)
    other = raypipe.evaluate(trained, images, (labels + 1) % len(NAMES), ["fgsm"], **settings)
    assert first.records["accuracy"][0].as_py() > 0.5
    assert other.records["accuracy"][0].as_py() < 0.5, "nearly all of these labels are wrong"
    turned = copy.deepcopy(trained)
    turned.classify = lambda images: -type(trained).classify(trained, images)  # the same state with other code
    with pytest.raises(FileExistsError, match="whose logits differ: give the name of a new folder"):
        raypipe.evaluate(turned, images, labels, ["fgsm"], **settings)
