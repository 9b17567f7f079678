import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from raypipe.evaluation.checks.evidence import Evidence
from raypipe.evaluation.checks.findings import compute_least_tiles, compute_missed_share
from raypipe.evaluation.checks.rules import CHECKS, run_checks
from raypipe.evaluation.results.certified import Proof
from tests.evaluation.checks.evidence import first, fooled, planted, probed, run_check

PAIRS = {
    "iterative beats single-step": "single_step",
    "white-box beats transfer": "transfer",
    "white-box beats black-box": "black_box",
}


@pytest.mark.parametrize(("name", "weaker"), PAIRS.items())
def test_what_the_weaker_attack_fools_the_stronger_one_fools_too(name: str, weaker: str) -> None:
    sound = run_check(name, white_box=fooled(0, 1, 2), **{weaker: fooled(1, 2)})
    assert sound.verdict == "pass"
    assert "0 of 20 tiles" in sound.figure
    assert "robust accuracy 85.0 % under the white-box attack" in sound.figure
    # One tile may be lost to rounding or to another random start. Two may not, even if the rates look fine.
    assert run_check(name, white_box=fooled(0, 1, 2), **{weaker: fooled(9)}).verdict == "pass"
    assert run_check(name, white_box=fooled(0, 1, 2), **{weaker: fooled(8, 9)}).verdict == "fail"
    missing = run_check(name, white_box=fooled(0))
    assert missing.verdict == "not applicable"
    assert "not measured" in missing.figure


def test_of_many_tiles_one_in_200_may_be_lost() -> None:
    name, nothing = "white-box beats transfer", first(0, 1000)
    assert run_check(name, white_box=nothing, transfer=first(5, 1000)).verdict == "pass"
    assert run_check(name, white_box=nothing, transfer=first(6, 1000)).verdict == "fail"


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
    sound = run_check(name, **{field: rising})
    assert sound.verdict == "pass"
    assert sound.figure.index("90.0 %") < sound.figure.index("80.0 %")
    assert "95.0 %" not in sound.figure, "the weakest attack may have skipped tiles"
    assert run_check(name, **{field: {**rising, high: first(0)}}).verdict == "fail"
    assert run_check(name, **{field: {low: fooled(1)}}).verdict == "not applicable"
    assert run_check(name).verdict == "not applicable"


PASSING = {
    "more steps are never weaker": (18, lambda n: {"by_steps": {1: first(0, n), 2: first(0, n)}}),
    "a larger eps is never weaker": (18, lambda n: {"by_eps": {0.1: first(0, n), 0.2: first(0, n)}}),
    "iterative beats single-step": (18, lambda n: {"white_box": first(0, n), "single_step": first(0, n)}),
    "white-box beats transfer": (18, lambda n: {"white_box": first(0, n), "transfer": first(0, n)}),
    "white-box beats black-box": (18, lambda n: {"white_box": first(0, n), "black_box": first(0, n)}),
    "the iterations suffice": (18, lambda n: {"white_box": first(0, n), "doubled_iterations": first(0, n)}),
    "the restarts suffice": (18, lambda n: {"white_box": first(0, n), "doubled_restarts": first(0, n)}),
    "a large eps fools every tile": (11, lambda n: {"unbounded": first(n, n)}),
    "no zero gradients": (11, lambda n: {"probe": probed(n)}),
    "the cross-entropy does not underflow": (11, lambda n: {"probe": probed(n)}),
    "reproducible predictions": (
        11,
        lambda n: {"recorded_predictions": first(0, n), "remade_predictions": first(0, n)},
    ),
    "stored tiles fool as recorded": (
        11,
        lambda n: {"recorded_success": first(0, n), "recomputed_success": first(0, n)},
    ),
    "deterministic inference": (1, lambda n: {"probe": probed(n)}),
    "batch-independent inference": (1, lambda n: {"probe": probed(n)}),
    "no certificate is broken": (11, lambda n: {"proof": Proof("linf", np.full(n, 0.1), np.full(n, np.inf))}),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_pass_needs_a_minimum_of_tiles(name: str) -> None:
    least, sound = PASSING[name]
    assert run_check(name, **sound(least)).verdict == "pass"
    if least > 1:
        few = run_check(name, **sound(least - 1))
        assert few.verdict == "not applicable"
        assert few.figure.endswith(f"a pass needs at least {least} tiles")


def test_a_failure_on_few_tiles_is_one() -> None:
    assert run_check("white-box beats transfer", white_box=first(0, 5), transfer=first(2, 5)).verdict == "fail"
    assert (
        run_check("white-box beats transfer", white_box=first(0, 5), transfer=first(1, 5)).verdict == "not applicable"
    )
    assert run_check("a large eps fools every tile", unbounded=first(1, 2)).verdict == "fail"
    assert run_check("no zero gradients", probe=probed(3, log_odds_gradient=0.0)).verdict == "fail"


@pytest.mark.parametrize("allowed", [0, 1, 2, 5])
def test_so_many_tiles_show_a_failure_on_a_quarter_of_them(allowed: int) -> None:
    least = compute_least_tiles(allowed)
    assert binom.cdf(allowed, least, 0.25) <= 0.05 < binom.cdf(allowed, least - 1, 0.25)
    assert binom.cdf(allowed, least, compute_missed_share(least, allowed)) == pytest.approx(0.05)


def test_what_is_proved_of_few_tiles_is_not_tested() -> None:
    """Use certificates that hold, but only on 5 of 40 tiles, which is too few for a conclusion."""
    radius = np.where(np.arange(40) < 5, 0.1, -1.0)
    assert (
        run_check("no certificate is broken", proof=Proof("linf", radius, np.full(40, np.inf))).verdict
        == "not applicable"
    )
    broken = Proof("linf", radius, np.where(np.arange(40) < 1, 0.05, np.inf))
    assert run_check("no certificate is broken", proof=broken).verdict == "fail"


@pytest.mark.parametrize(
    ("name", "field"),
    [("the iterations suffice", "doubled_iterations"), ("the restarts suffice", "doubled_restarts")],
)
@pytest.mark.parametrize(
    ("tiles", "allowed"), [(18, 1), (100, 1), (101, 1), (200, 1), (201, 2), (300, 2), (301, 3), (700, 6), (1000, 9)]
)
def test_twice_as_many_fool_less_than_a_point_more(name: str, field: str, tiles: int, allowed: int) -> None:
    assert run_check(name, white_box=first(0, tiles), **{field: first(allowed, tiles)}).verdict == "pass"
    failed = run_check(name, white_box=first(0, tiles), **{field: first(allowed + 1, tiles)})
    assert failed.verdict == "fail"
    assert ("needs 101 tiles" in failed.figure) == (tiles <= 100)
    assert run_check(name, white_box=first(0, tiles)).verdict == "not applicable"


@given(tiles=st.integers(101, 5000))
def test_the_rule_is_strict_once_a_tile_is_less_than_a_point(tiles: int) -> None:
    moved = np.arange(tiles + 1)
    less = int(moved[100 * moved < tiles].max())
    for more, expected in ((less, "pass"), (less + 1, "fail")):
        check = run_check("the iterations suffice", white_box=first(0, tiles), doubled_iterations=first(more, tiles))
        assert check.verdict == expected


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("no zero gradients", {"log_odds_gradient": 0.0}),
        ("no zero gradients", {"zero_share": 0.95}),
        ("no zero gradients", {"finite": False}),
        ("deterministic inference", {"repeat_difference": 2e-3}),
        ("deterministic inference", {"repeat_difference": np.nan}),
        ("batch-independent inference", {"batch_difference": 2e-2}),
    ],
)
def test_a_probe_fails_one_check(name: str, changes: dict[str, float]) -> None:
    sound = run_checks(Evidence(probe=probed()))
    assert sorted(check.verdict for check in sound) == ["not applicable"] * 12 + ["pass"] * 4
    failing = {check.name for check in run_checks(Evidence(probe=probed(**changes))) if check.verdict == "fail"}
    assert failing == {name}
    assert run_check(name).verdict == "not applicable"


def test_sure_tiles_may_underflow_but_not_most() -> None:
    name, seen = "the cross-entropy does not underflow", probed(20)
    for zeros, verdict_ in ((0, "pass"), (10, "pass"), (11, "fail"), (20, "fail")):
        seen.cross_entropy_gradient[:zeros] = 0
        assert run_check(name, probe=seen).verdict == verdict_
    few = probed(4)
    few.cross_entropy_gradient[:] = 0
    assert run_check(name, probe=few).verdict == "fail"
    assert run_check(name).verdict == "not applicable"


def test_a_blank_tile_among_hundreds_is_no_masked_gradient_but_a_broken_one_is() -> None:
    assert run_check("no zero gradients", probe=probed(200, log_odds_gradient=0.0)).verdict == "pass"
    assert run_check("no zero gradients", probe=probed(199, log_odds_gradient=0.0)).verdict == "fail"
    assert run_check("no zero gradients", probe=probed(1000, finite=False)).verdict == "fail"


@pytest.mark.parametrize(
    ("name", "stored", "again"),
    [
        ("reproducible predictions", "recorded_predictions", "remade_predictions"),
        ("stored tiles fool as recorded", "recorded_success", "recomputed_success"),
    ],
)
def test_what_is_stored_is_what_is_computed(name: str, stored: str, again: str) -> None:
    values = np.array([1, 0, 0, 1] * 5)
    assert run_check(name, **{stored: values, again: values.copy()}).verdict == "pass"
    failed = run_check(name, **{stored: values, again: np.array([0, 0, 0, 1] + [1, 0, 0, 1] * 4)})
    assert failed.verdict == "fail"
    assert failed.figure.endswith("differ on 1 of 20 tiles")
    assert run_check(name, **{stored: values}).verdict == "not applicable"


@pytest.mark.parametrize(
    ("found", "lucky", "inapplicable", "expected"),
    [
        (20, 0, 0, "pass"),
        (19, 0, 0, "pass"),
        (18, 0, 0, "not applicable"),  # the interval, 68 to 99 %, contains the required share
        (17, 0, 0, "not applicable"),
        (16, 0, 0, "fail"),
        (20, 5, 0, "pass"),
        (20, 6, 0, "not applicable"),
        (16, 20, 0, "fail"),  # worse than chance
        (15, 0, 5, "pass"),
        (11, 0, 5, "fail"),
        (0, 0, 6, "not applicable"),  # 14 tiles are too few for a judgment
        (9, 0, 11, "not applicable"),
        (0, 0, 20, "not applicable"),
    ],
)
def test_planted_examples(found: int, lucky: int, inapplicable: int, expected: str) -> None:
    check = run_check("planted adversarial examples are found", planted=planted(found, lucky, inapplicable))
    assert check.verdict == expected
    assert ("it is random" in check.figure) == (inapplicable > 10)
    assert f"{20 - inapplicable} of 20" in check.figure


def test_other_tiles_are_not_compared() -> None:
    with pytest.raises(ValueError, match="expected the same tiles"):
        run_checks(Evidence(white_box=first(3), transfer=first(3, 11)))


def test_every_check_says_what_it_means_and_where_it_is_from() -> None:
    checks = run_checks(Evidence())
    assert [check.name for check in checks] == [rule.name for rule in CHECKS]
    assert len({check.name for check in checks}) == len(checks) == 16
    assert all(check.meaning and check.source and check.figure.startswith("not measured: ") for check in checks)
    assert {check.verdict for check in checks} == {"not applicable"}
