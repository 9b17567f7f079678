import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.evaluation.checks import CHECKS, Check, run_checks, verdict
from raypipe.evaluation.evidence import Evidence, Planted
from raypipe.evaluation.probe import Probe


def fooled(*positions: int, tiles: int = 10) -> np.ndarray:
    array = np.zeros(tiles, dtype=bool)
    array[list(positions)] = True
    return array


def first(count: int, tiles: int = 10) -> np.ndarray:
    return np.arange(tiles) < count


def probed(tiles: int = 10, **changes: object) -> Probe:
    sound = {
        "log_odds_gradient": np.ones(tiles),
        "cross_entropy_gradient": np.full(tiles, 1e-30),
        "zero_share": np.zeros(tiles),
        "finite": np.ones(tiles, dtype=bool),
        "spread": np.full(tiles, 10.0),
        "repeat_difference": np.zeros(tiles),
        "batch_difference": np.full(tiles, 1e-6),
        "forwards": np.full(tiles, 3),
        "backwards": np.full(tiles, 2),
    }
    for name, value in changes.items():
        sound[name][0] = value
    return Probe(**sound)


def planted(found: int, lucky: int, inapplicable: int = 0, tiles: int = 20) -> Planted:
    reasons = np.array(["it is random"] * inapplicable + [""] * (tiles - inapplicable))
    order = first(tiles, tiles)[::-1] & (reasons == "")
    rank = np.cumsum(order)
    return Planted(
        found=order & (rank <= found),
        random_found=order & (rank <= lucky),
        reasons=reasons,
        random_points=100,
        forwards=np.ones(tiles, dtype=np.int64),
        backwards=np.ones(tiles, dtype=np.int64),
    )


def made(name: str, **known: object) -> Check:
    (check,) = [check for check in run_checks(Evidence(**known)) if check.name == name]
    return check


PAIRS = {
    "iterative beats single-step": "single_step",
    "white-box beats transfer": "transfer",
    "white-box beats black-box": "black_box",
}


@pytest.mark.parametrize(("name", "weaker"), PAIRS.items())
def test_what_the_weaker_attack_fools_the_stronger_one_fools_too(name: str, weaker: str) -> None:
    sound = made(name, white_box=fooled(0, 1, 2), **{weaker: fooled(1, 2)})
    assert sound.verdict == "pass"
    assert "0 of 10 tiles" in sound.figure
    assert "robust accuracy 80.0 % under it, 70.0 % under the white-box attack" in sound.figure
    # One tile may be lost to rounding or to another random start, two may not, even where the rates say all is well.
    assert made(name, white_box=fooled(0, 1, 2), **{weaker: fooled(9)}).verdict == "pass"
    assert made(name, white_box=fooled(0, 1, 2), **{weaker: fooled(8, 9)}).verdict == "fail"
    missing = made(name, white_box=fooled(0))
    assert missing.verdict == "not applicable"
    assert "not measured" in missing.figure


def test_of_many_tiles_one_in_200_may_be_lost() -> None:
    name, nothing = "white-box beats transfer", first(0, 1000)
    assert made(name, white_box=nothing, transfer=first(5, 1000)).verdict == "pass"
    assert made(name, white_box=nothing, transfer=first(6, 1000)).verdict == "fail"


@pytest.mark.parametrize(
    ("name", "field", "keys"),
    [
        ("more steps are never weaker", "by_steps", (10, 20, 40)),
        ("a larger eps is never weaker", "by_eps", (1 / 255, 4 / 255, 8 / 255)),
    ],
)
def test_a_series_rises(name: str, field: str, keys: tuple[float, ...]) -> None:
    low, middle, high = keys
    rising = {high: fooled(1, 2, 3, 4), low: fooled(1), middle: fooled(1, 2)}
    sound = made(name, **{field: rising})
    assert sound.verdict == "pass"
    assert "90.0 %" in sound.figure
    assert sound.figure.index("90.0 %") < sound.figure.index("80.0 %") < sound.figure.index("60.0 %")
    assert made(name, **{field: {**rising, high: first(0)}}).verdict == "fail"
    assert made(name, **{field: {low: fooled(1)}}).verdict == "not applicable"
    assert made(name).verdict == "not applicable"


def test_a_large_eps_leaves_chance() -> None:
    name = "a large eps reaches chance"
    assert made(name, unbounded=first(10), classes=3).verdict == "pass"
    assert made(name, unbounded=first(7), classes=3).verdict == "pass"
    failed = made(name, unbounded=first(6), classes=3)
    assert failed.verdict == "fail"
    assert failed.figure == "4 of 10 tiles stand, chance is 1 in 3"
    assert made(name, unbounded=first(10)).verdict == "not applicable"
    assert made(name, classes=3).verdict == "not applicable"


@pytest.mark.parametrize(
    ("name", "field"),
    [("the iterations suffice", "doubled_iterations"), ("the restarts suffice", "doubled_restarts")],
)
@pytest.mark.parametrize(
    ("tiles", "allowed"), [(10, 1), (100, 1), (101, 1), (200, 1), (201, 2), (300, 2), (301, 3), (700, 6), (1000, 9)]
)
def test_twice_as_many_fool_less_than_a_point_more(name: str, field: str, tiles: int, allowed: int) -> None:
    assert made(name, white_box=first(0, tiles), **{field: first(allowed, tiles)}).verdict == "pass"
    failed = made(name, white_box=first(0, tiles), **{field: first(allowed + 1, tiles)})
    assert failed.verdict == "fail"
    assert ("takes 101 tiles" in failed.figure) == (tiles <= 100)
    assert made(name, white_box=first(0, tiles)).verdict == "not applicable"


@given(tiles=st.integers(101, 5000))
def test_the_rule_is_strict_once_a_tile_is_less_than_a_point(tiles: int) -> None:
    moved = np.arange(tiles + 1)
    less = int(moved[100 * moved < tiles].max())
    for more, expected in ((less, "pass"), (less + 1, "fail")):
        check = made("the iterations suffice", white_box=first(0, tiles), doubled_iterations=first(more, tiles))
        assert check.verdict == expected


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("no zero gradients", {"log_odds_gradient": 0.0}),
        ("no zero gradients", {"zero_share": 0.95}),
        ("no zero gradients", {"finite": False}),
        ("the cross-entropy does not underflow", {"cross_entropy_gradient": 0.0}),
        ("two passes agree", {"repeat_difference": 2e-3}),
        ("two passes agree", {"repeat_difference": np.nan}),
        ("neighbours do not matter", {"batch_difference": 2e-2}),
    ],
)
def test_a_probe_fails_one_check(name: str, changes: dict[str, float]) -> None:
    sound = run_checks(Evidence(probe=probed()))
    assert sorted(check.verdict for check in sound) == ["not applicable"] * 11 + ["pass"] * 4
    failing = {check.name for check in run_checks(Evidence(probe=probed(**changes))) if check.verdict == "fail"}
    assert failing == {name}
    assert made(name).verdict == "not applicable"


def test_a_blank_tile_among_hundreds_is_no_masked_gradient_but_a_broken_one_is() -> None:
    assert made("no zero gradients", probe=probed(200, log_odds_gradient=0.0)).verdict == "pass"
    assert made("no zero gradients", probe=probed(199, log_odds_gradient=0.0)).verdict == "fail"
    assert made("no zero gradients", probe=probed(1000, finite=False)).verdict == "fail"


@pytest.mark.parametrize(
    ("name", "stored", "again"),
    [
        ("predictions repeat", "recorded_predictions", "remade_predictions"),
        ("stored tiles fool as recorded", "recorded_success", "recomputed_success"),
    ],
)
def test_what_is_stored_is_what_is_computed(name: str, stored: str, again: str) -> None:
    values = np.array([1, 0, 0, 1])
    assert made(name, **{stored: values, again: values.copy()}).verdict == "pass"
    failed = made(name, **{stored: values, again: np.array([1, 0, 1, 1])})
    assert failed.verdict == "fail"
    assert failed.figure == "1 of 4 differ"
    assert made(name, **{stored: values}).verdict == "not applicable"


@pytest.mark.parametrize(
    ("found", "lucky", "inapplicable", "expected"),
    [
        (20, 0, 0, "pass"),
        (19, 0, 0, "pass"),
        (18, 0, 0, "fail"),
        (20, 5, 0, "pass"),
        (20, 6, 0, "not applicable"),
        (18, 20, 0, "fail"),  # worse than chance
        (10, 0, 10, "pass"),
        (9, 0, 10, "fail"),
        (9, 0, 11, "not applicable"),
        (0, 0, 20, "not applicable"),
    ],
)
def test_planted_examples(found: int, lucky: int, inapplicable: int, expected: str) -> None:
    check = made("planted adversarial examples are found", planted=planted(found, lucky, inapplicable))
    assert check.verdict == expected
    assert ("it is random" in check.figure) == (inapplicable > 10)
    assert f"{20 - inapplicable} of 20" in check.figure


def test_other_tiles_are_not_compared() -> None:
    with pytest.raises(ValueError, match="expected the same tiles"):
        run_checks(Evidence(white_box=first(3), transfer=first(3, 11)))


def test_every_check_says_what_it_means_and_where_it_is_from() -> None:
    checks = run_checks(Evidence())
    assert [check.name for check in checks] == [rule.name for rule in CHECKS]
    assert len({check.name for check in checks}) == len(checks) == 15
    assert all(check.meaning and check.source and check.figure.startswith("not measured: ") for check in checks)
    assert {check.verdict for check in checks} == {"not applicable"}


def checks_of(*verdicts: str) -> list[Check]:
    return [Check(f"law {at}", outcome, "", "", "") for at, outcome in enumerate(verdicts)]


def test_one_failure_withholds_the_claim() -> None:
    overall = verdict(checks_of("pass", "fail", "not applicable", "pass"))
    assert overall[:4] == (1, 2, 1, True)
    assert overall.sentence.startswith("Robustness not claimed: 1 of 3 checks failed (law 1).")


def test_too_few_checks_withhold_the_claim() -> None:
    assert verdict(checks_of(*["pass"] * 3, *["not applicable"] * 2)).withheld
    assert "only 3 of 5" in verdict(checks_of(*["pass"] * 3, *["not applicable"] * 2)).sentence
    enough = verdict(checks_of(*["pass"] * 4, *["not applicable"] * 2))
    assert not enough.withheld
    assert enough.sentence.startswith("4 of 6 checks passed, 2 not applicable, none failed")
