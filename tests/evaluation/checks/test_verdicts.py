"""The verdict on an evaluation, from the outcomes of its checks."""

from raypipe.evaluation.checks.rules import ABOVE_CHANCE, Check, reach_verdict


def checks_of(*verdicts: str) -> list[Check]:
    return [Check(f"law {at}", outcome, "", "", "") for at, outcome in enumerate(verdicts)]


def test_one_failure_withholds_the_claim() -> None:
    overall = reach_verdict(checks_of("pass", "fail", "not applicable", "pass"))
    assert overall[:4] == (1, 2, 1, True)
    assert overall.sentence.startswith("Robustness not claimed: 1 of 3 checks failed (law 1).")
    assert overall.sentence.endswith("Sanity check failed: robust accuracy may be overestimated.")


def test_too_few_checks_withhold_the_claim() -> None:
    assert reach_verdict(checks_of(*["pass"] * 3, *["not applicable"] * 2)).withheld
    assert "only 3 of 5" in reach_verdict(checks_of(*["pass"] * 3, *["not applicable"] * 2)).sentence
    enough = reach_verdict(checks_of(*["pass"] * 4, *["not applicable"] * 2))
    assert not enough.withheld
    assert enough.sentence == (
        "4 of 6 checks passed, 2 not applicable: no attack failure detected; robust accuracy is an upper bound."
    )


def test_a_model_that_is_not_shown_to_be_above_chance_is_not_called_robust() -> None:
    unknown = Check(ABOVE_CHANCE, "not applicable", "60.0 % of 4 test tiles", "", "")
    overall = reach_verdict([*checks_of(*["pass"] * 15), unknown])
    assert overall.withheld
    assert "the model is not shown to be better than chance (60.0 % of 4 test tiles)" in overall.sentence
    assert not reach_verdict([*checks_of(*["pass"] * 15), unknown._replace(verdict="pass")]).withheld


def test_a_verdict_says_how_many_tiles_it_rests_on_and_what_they_can_miss() -> None:
    assert "1 of 1 checks failed on 60 tiles" in reach_verdict(checks_of("fail"), 60).sentence
    assert (
        "only 1 of 2 checks could be judged on 12 tiles"
        in reach_verdict(checks_of("pass", "not applicable"), 12).sentence
    )
    few, many = (reach_verdict(checks_of("pass"), tiles).sentence for tiles in (20, 200))
    assert "1 of 1 checks passed on 20 tiles" in few
    assert "can miss a failure on up to 22 % of them" in few
    assert "can miss a failure on up to 2 % of them" in many
