"""The benchmark of attacks, on a model of a few thousand weights and tiles of color and noise."""

import importlib.util
import json
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.attacks.__main__ import parse, run
from benchmarks.attacks.contestants import FAMILIES, Contestant, Task, task_of
from benchmarks.attacks.measure import Rules, contest
from benchmarks.attacks.ours import OURS
from benchmarks.attacks.passes import PassLog, distances
from benchmarks.attacks.peers import MODULES, PEERS
from benchmarks.attacks.record import Record
from benchmarks.attacks.rows import Row
from benchmarks.attacks.victims import Subject, data_settings, experiments
from raypipe.attacks import ATTACKS
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.prepare import prepare
from raypipe.attacks.engine.quantize import to_bytes, to_unit
from raypipe.attacks.engine.victim import Victim, freeze

pytestmark = pytest.mark.xdist_group("benchmark")
SIZE = 12
QUICK = Rules(slow_tiles=2, repeats=1, time_limit=20)


def network() -> nn.Module:
    """Return a small network as complex as a real one, as an `nn.Sequential`, which some libraries take apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AvgPool2d(4),
            nn.Flatten(),
            nn.Linear(72, 16),
            nn.ReLU(),
            nn.Linear(16, 3),
        )
        images, labels = tiles(256, seed=1)
        inputs, truth = to_unit(torch.from_numpy(images).permute(0, 3, 1, 2)), torch.from_numpy(labels)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), truth).backward()
            optimizer.step()
    return model.eval()


def tiles(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return tiles in which the label's channel is slightly brighter than the others."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    images = 0.5 + rng.normal(0, 0.15, (count, SIZE, SIZE, 3))
    images[np.arange(count), :, :, labels] += 0.12
    return (images.clip(0, 1) * 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def subject() -> Subject:
    model = network()
    images, labels = tiles(12, seed=2)
    with torch.no_grad():
        right = (model(to_unit(torch.from_numpy(images).permute(0, 3, 1, 2))).argmax(1).numpy() == labels).nonzero()[0]
    assert len(right) >= 4
    facts = {"accuracy": len(right) / 12, "synthetic": True}
    return Subject("tiny", model, images[right[:4]], labels[right[:4]], facts)


@pytest.fixture(scope="module")
def stored(subject: Subject) -> Tensor:
    return torch.from_numpy(subject.images).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="module")
def task(subject: Subject, stored: Tensor) -> Task:
    prepared = prepare(subject.model, (3, SIZE, SIZE), device="cpu", batch_size=4)
    return task_of(subject.model, prepared, to_unit(stored), torch.from_numpy(subject.labels))


# The ensembles take thousands of passes a tile; the tests of the benchmark for GPUs run them.
FAST = tuple(family for family in FAMILIES if family != "autoattack")
ENTRIES = tuple(entry for entry in (*OURS, *PEERS) if entry.attack in FAST)


def options(folder: Path) -> Namespace:
    limits = ["--slow-tiles", "2", "--repeats", "1", "--time-limit", "20", "--batch-size", "4"]
    return parse([*limits, "--out", str(folder), "--attacks", *FAST])


@pytest.fixture(scope="module")
def record(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Path]:
    folder = tmp_path_factory.mktemp("benchmark")
    return run([subject], [*OURS, *PEERS], options(folder), Console(quiet=True)), folder


def entered(run: Callable[[Task], Tensor], **changes: object) -> Contestant:
    return replace(Contestant("deepfool", "none", "made up", run), **changes)


def row_of(task: Task, stored: Tensor, entry: Contestant, rules: Rules = QUICK) -> Row:
    (_, row), *_ = contest("tiny", task, [entry], rules, stored)
    return row


def installed(library: str) -> bool:
    return all(importlib.util.find_spec(module.partition(".")[0]) for module in MODULES[library])


def test_every_contestant_has_a_row_and_whatever_is_installed_has_figures(record: tuple[Record, Path]) -> None:
    rows = {(row.attack, row.library, row.label): row for row in record[0].rows}
    assert set(rows) == {(entry.attack, entry.library, entry.label) for entry in ENTRIES}
    for entry in ENTRIES:
        row = rows[entry.attack, entry.library, entry.label]
        if entry.ours or installed(entry.library):
            assert row.error is None, (entry.library, entry.label, row.error)
            assert row.milliseconds[0] > 0
            assert row.forwards > 0
        else:
            assert row.error
            assert "No module named" in row.error


def test_success_and_distortion_are_those_of_the_returned_images(record: tuple[Record, Path], task: Task) -> None:
    for row in record[0].rows:
        if row.images is None:
            continue
        clean, labels = task.images[: row.tiles], task.labels[: row.tiles]
        with torch.no_grad():
            assert row.success == (task.model(row.images).argmax(1) != labels).tolist(), row.label
            assert row.success8 == (task.model(to_unit(to_bytes(row.images))).argmax(1) != labels).tolist(), row.label
        difference = (row.images - clean).double().flatten(1)
        assert row.l2 == pytest.approx(difference.square().sum(1).sqrt().tolist())
        assert row.linf == pytest.approx(difference.abs().amax(1).tolist())
        assert row.l0 == (difference != 0).sum(1).tolist()


def test_slow_contestants_meet_ours_on_the_same_few_tiles(record: tuple[Record, Path]) -> None:
    ran = {(row.attack, row.library, row.label, row.tiles) for row in record[0].rows}
    for entry in ENTRIES:
        if entry.slow:
            assert (entry.attack, entry.library, entry.label, 4) not in ran
    for label in ("adaptive 30", "adaptive 80"):
        assert {("carlini_wagner_l2", "raypipe", label, count) for count in (2, 4)} <= ran
    goals = {verdict.goal: verdict for verdict in record[0].verdicts}
    if installed("adv-lib"):
        assert goals["fast: speed over adv-lib's 9x100"].tiles == 2


def test_the_record_is_plain_json_that_says_what_it_is_of(record: tuple[Record, Path]) -> None:
    text = (record[1] / "attacks.json").read_text(encoding="utf-8")
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert content["stamp"].startswith("SYNTHETIC")
    assert content["environment"]["threads"] == 1
    assert content["environment"]["versions"]["torch"] == version("torch")
    assert content["victims"]["tiny"]["tiles"] == 4
    assert len(content["rows"]) == len(record[0].rows)
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("no figure without matplotlib")
    picture = ElementTree.parse(record[1] / "attacks-tiny.svg").getroot()
    assert picture.tag.endswith("svg")


def test_forward_passes_agree_with_the_count_that_raypipe_keeps(record: tuple[Record, Path], task: Task) -> None:
    (row,) = (row for row in record[0].rows if row.attack == "deepfool" and row.label == "lazy")
    victim = Victim(task.prepared.fast, len(task), task.prepared.batch_size)
    with freeze(task.prepared.plain):
        ATTACKS["deepfool"].generate(victim, task.images, Goal(task.labels), ATTACKS["deepfool"].settings())
    assert row.forwards == pytest.approx(float(victim.forwards.float().mean()))
    assert row.backwards >= float(victim.backwards.float().mean())


def test_the_model_is_given_back_as_it_was(task: Task, stored: Tensor) -> None:
    def careless(task: Task) -> Tensor:
        task.model.train()
        task.model(task.images).sum().backward()
        next(task.model.parameters()).requires_grad_(False)
        return task.images

    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    row_of(task, stored, entered(careless))
    assert not task.model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in task.model.parameters())
    assert all(torch.equal(value, task.model.state_dict()[name]) for name, value in before.items())


def test_a_contestant_that_returns_clean_images_has_no_success(task: Task, stored: Tensor) -> None:
    row = row_of(task, stored, entered(lambda task: task.images.clone()))
    assert (row.asr, row.asr8, row.typical("l2")) == (0.0, 0.0, None)


def test_what_dies_when_rounded_is_no_success_in_8_bits(stored: Tensor) -> None:
    class Threshold(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            excess = images.flatten(1)[:, 0] - 100.2 / 255
            return torch.stack([-excess, excess], 1)

    images = torch.full((2, 3, SIZE, SIZE), 100 / 255)
    clean = torch.full((2, 3, SIZE, SIZE), 100, dtype=torch.uint8)
    model = Threshold()
    prepared = prepare(model, (3, SIZE, SIZE), device="cpu", batch_size=2)
    task = task_of(model, prepared, images, torch.zeros(2, dtype=torch.long))
    row = row_of(task, clean, entered(lambda task: task.images + 0.3 / 255))
    assert (row.success, row.success8) == ([True, True], [False, False])


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (lambda task: task.images[:1], "expected finite images"),
        (lambda task: task.images + 0.5, "expected 0..1"),
        (lambda task: task.images * torch.nan, "expected finite images"),
        (lambda task: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_failure_is_recorded_with_its_text(
    task: Task, stored: Tensor, outcome: Callable[[Task], Tensor], message: str
) -> None:
    row = row_of(task, stored, entered(outcome))
    assert row.error
    assert message in row.error
    assert row.milliseconds == []


def test_tiles_that_take_too_long_are_cut_off_and_count_as_failed(task: Task, stored: Tensor) -> None:
    def endless_for_the_first(one: Task) -> Tensor:
        while torch.equal(one.images[0], task.images[0]):
            with suppress(Exception):  # as libraries do
                one.model(one.images)
        return one.images.clone()

    rules = replace(QUICK, time_limit=0.4)
    row = row_of(task, stored, entered(endless_for_the_first, one_by_one=True), rules)
    assert (row.error, row.cut_off, row.success) == (None, 1, [False] * 4)
    row = row_of(task, stored, entered(endless_for_the_first), rules)
    assert row.error
    assert row.error.startswith("TimeoutError")


def test_a_misclassified_tile_is_refused(task: Task) -> None:
    with pytest.raises(ValueError, match="misclassified before any attack"):
        task_of(task.model, task.prepared, task.images, (task.labels + 1) % 3)


def test_rounds_alternate_until_it_is_enough(task: Task, stored: Tensor) -> None:
    order = []

    def named(name: str) -> Callable[[Task], Tensor]:
        def attack(task: Task) -> Tensor:
            order.append(name)
            return task.images

        return attack

    entries = [entered(named("a"), label="a"), entered(named("b"), label="b")]
    rows = [row for _, row in contest("tiny", task, entries, replace(QUICK, repeats=3), stored)]
    assert order == ["a", "b"] * 3
    assert [len(row.milliseconds) for row in rows] == [3] * 6  # each row is in its last state
    order.clear()
    list(contest("tiny", task, entries, replace(QUICK, repeats=3, enough=1e-9), stored))
    assert order == ["a", "b"]


def test_passes_are_counted_by_images_and_matched_to_tiles(task: Task) -> None:
    log = PassLog(task.images, task.labels, "l2", budget=3)
    with log.watching(task.model):
        with torch.no_grad():
            task.model(task.images[:3])
        points = task.images[[3, 1]].clone().requires_grad_()
        logits = task.model(points)
        torch.autograd.grad(logits[:, 0].sum(), points, retain_graph=True)
        torch.autograd.grad(logits[:, 1].sum(), points)
    task.model(task.images)
    assert log.calls == {("predict", 3): 1, ("forward", 2): 1, ("backward", 2): 2}
    assert log.count("forward", "predict") == 5
    assert log.spent.tolist() == [1, 4, 1, 3]


def test_the_best_perturbation_within_the_budget_is_kept(task: Task, record: tuple[Record, Path]) -> None:
    fooled = next(row.images for row in record[0].rows if row.label == "lazy" and row.images is not None)
    log = PassLog(task.images, task.labels, "l2", budget=2)
    far = (task.images + 1.01 * (fooled - task.images)).clamp(0, 1)
    with log.watching(task.model), torch.no_grad():
        task.model(far[[2, 0]])
        task.model(fooled[[0, 2]])
        task.model(task.images)  # this pass uses up the budget
        task.model(fooled)
    expected = distances(fooled, task.images, "l2")
    assert log.best[[0, 2]].tolist() == pytest.approx(expected[[0, 2]].tolist())
    # For the other tiles, the second pass was the fourth model call, which is still within the budget of two.
    assert log.best[[1, 3]].tolist() == pytest.approx(expected[[1, 3]].tolist())
    late = PassLog(task.images, task.labels, "l2", budget=1)
    with late.watching(task.model), torch.no_grad():
        task.model(task.images)
        task.model(fooled)
    assert late.best.isinf().all()


def test_drawn_tissue_is_the_default_and_real_tiles_are_those_of_lc25000(tmp_path: Path) -> None:
    drawn = data_settings(None, None, 120, 64)
    assert (drawn["source"], drawn["sources_per_class"] * drawn["siblings"]) == ("synthetic", 120)
    real = data_settings(str(tmp_path), None, 10, 64)
    assert (real["source"], real["path"]) == ("lc25000", str(tmp_path))
    assert real["groups"] == str(tmp_path / "groups.csv")


def test_each_victim_is_an_experiment_of_its_own_over_the_same_tiles() -> None:
    data = data_settings(None, None, 120, 64)
    one, other = experiments(["resnet18", "shufflenet_v2_x1_0"], data, 64, "store")
    assert (one.data, one.tiles, one.seed) == (other.data, other.tiles, other.seed)
    assert one.train.epochs < other.train.epochs


def test_families_name_the_norm_that_each_keeps_small() -> None:
    assert {entry.attack for entry in [*OURS, *PEERS]} == set(FAMILIES)
