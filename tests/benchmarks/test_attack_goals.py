"""The goals of the benchmark of attacks, on rows made by hand."""

import numpy as np
import pytest

from benchmarks.attacks.goals import Verdict, verdicts
from benchmarks.attacks.optimality import global_optimality, local_optimalities, local_optimality
from benchmarks.attacks.record import optimalities
from benchmarks.attacks.rows import Row


def test_optimality_by_hand() -> None:
    # Up to the radius 4, the area is (1 + 2 + 4) / 3 for the envelope, (1 + 3 + 4) / 3 for the attack, and 4 without
    # attack.
    assert local_optimality([1, 3, np.inf], [1, 2, 4]) == pytest.approx(1 - (8 / 3 - 7 / 3) / (4 - 7 / 3))
    assert local_optimality([1, 2, 4], [1, 2, 4]) == 1
    assert local_optimality([np.inf] * 3, [1, 2, 4]) == pytest.approx(0)
    # A misclassified tile needs no perturbation: without an attack, 2 of 3 tiles are correct.
    assert local_optimality([0, 3, 4], [0, 2, 4]) == pytest.approx(1 - (7 / 3 - 2) / (2 / 3 * 4 - 2))
    with pytest.raises(ValueError, match="none larger than the attack's own"):
        local_optimality([1, 1], [1, 2])
    with pytest.raises(ValueError, match="finite"):
        local_optimality([1, np.inf], [1, np.inf])


def test_optimality_of_several_attacks_and_models() -> None:
    # The envelope is 1, 2, 4; the last tile, which no attack fooled, is left out.
    local = local_optimalities({"a": [1, 3, np.inf, np.inf], "b": [2, 2, 4, np.inf]})
    assert local == pytest.approx({"a": 0.8, "b": 1 - (8 / 3 - 7 / 3) / (4 - 7 / 3)})
    assert global_optimality([{"a": 0.8, "b": 0.5}, {"a": 0.4}]) == pytest.approx({"a": 0.6, "b": 0.25})


def make_row(
    library: str, label: str, count: int, milliseconds: float, l2: list[float], attack: str = "deepfool"
) -> Row:
    success = [bool(np.isfinite(length)) for length in l2]
    zeros = [0.0] * count
    return Row(
        "tiny", attack, library, label, count, milliseconds=[milliseconds], success=success, success8=success,
        l0=zeros, l2=l2, linf=zeros, within_budget=l2, floor=[milliseconds / 1.5], passes_alone=[milliseconds / 1.1],
    )  # fmt: skip


def judge(rows: list[Row], size: int = 64) -> dict[str, Verdict]:
    return {verdict.goal: verdict for verdict in verdicts(rows, size)}


def test_goals_are_judged_on_the_same_tiles() -> None:
    ours = make_row("raypipe", "lazy", 2, 10, [1.0, 2.2])
    slow = make_row("ART", "full batch", 2, 500, [1.0, 2.0])
    found = judge([ours, make_row("raypipe", "lazy", 4, 1, [9.0] * 4), slow])
    speed = found["lazy: speed over ART, full batch"]
    assert (speed.got, speed.met, speed.tiles, speed.wanted) == (50, False, 2, ">= 60")
    assert speed.note == "missed by 17%"
    length = found["lazy: mean L2 over ART's, full batch"]
    assert (length.got, length.met) == (pytest.approx(3.2 / 3), False)
    floor = found["lazy: time over its floor"]
    assert (floor.got, floor.met, floor.tiles) == (pytest.approx(1.5), False, 4)
    assert "1.10 over its passes" in floor.note


def test_distortions_are_compared_where_both_succeed() -> None:
    ours, theirs = make_row("raypipe", "lazy", 3, 1, [1, 2, 3]), make_row("ART", "full batch", 3, 1, [1, np.inf, 3])
    length = judge([ours, theirs])["lazy: mean L2 over ART's, full batch"]
    assert (length.got, length.met, length.tiles) == (1, True, 2)


def test_a_goal_that_cannot_be_measured_is_open_and_says_why() -> None:
    broken = Row("tiny", "deepfool", "ART", "full batch", 2, error="ImportError: no toolbox")
    speed = judge([make_row("raypipe", "lazy", 2, 10, [1, 2]), broken])["lazy: speed over ART, full batch"]
    assert (speed.got, speed.met, speed.note) == (None, None, "ART full batch: ImportError: no toolbox")


def test_a_cut_off_peer_gives_a_lower_bound() -> None:
    slow = make_row("ART", "full batch", 2, 500, [1, 2])
    slow.cut_off = 1
    speed = judge([make_row("raypipe", "lazy", 2, 10, [1, 2]), slow])["lazy: speed over ART, full batch"]
    assert (speed.got, speed.met) == (50, None)
    slow.milliseconds = [700]
    speed = judge([make_row("raypipe", "lazy", 2, 10, [1, 2]), slow])["lazy: speed over ART, full batch"]
    assert (speed.got, speed.met) == (70, True)


def test_large_tiles_have_goals_of_their_own() -> None:
    attack = "carlini_wagner_l2"
    rows = [
        make_row("raypipe", "adaptive 30", 2, 10, [1, 2], attack),
        make_row("ART", "batch 1", 2, 300, [1, 2], attack),
    ]
    assert judge(rows, 64)["fast: speed over ART's default"].met is False
    assert judge(rows, 224)["fast: speed over ART's default"].met is True


def test_optimality_compares_all_on_the_tiles_that_all_had() -> None:
    many, few = make_row("raypipe", "lazy", 3, 1, [1, 2, 3]), make_row("ART", "full batch", 2, 1, [2, 2])
    parts = {part["tiles"]: part["local"]["tiny"] for part in optimalities([many, few])}
    assert parts == {2: {"deepfool: raypipe lazy": 1.0, "deepfool: ART full batch": pytest.approx(0.0)}}
