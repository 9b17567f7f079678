import pytest

from raypipe.evaluation.results.run import derive_stamps


@pytest.mark.parametrize(
    ("split", "leakage", "synthetic", "expected"),
    [
        ("group", 0.0, False, []),
        ("paper", 0.987, False, ["LEAKY: 98.7%"]),
        ("paper", None, False, ["LEAKY: random split; siblings are unknown"]),
        ("paper", 0.5, True, ["LEAKY: 50.0%", "SYNTHETIC"]),
        ("official", 0.0, False, []),
        ("official", 0.25, False, ["LEAKY: 25.0%"]),
        ("official", None, False, ["LEAKY: published split; siblings are unknown"]),
    ],
)
def test_stamps(split: str, leakage: float | None, synthetic: bool, expected: list[str]) -> None:
    found = derive_stamps({"split": split, "leakage": leakage, "synthetic": synthetic})
    assert len(found) == len(expected)
    assert all(stamp.startswith(start) for stamp, start in zip(found, expected, strict=True))


def test_what_may_not_be_passed_on_is_stamped() -> None:
    (stamp,) = derive_stamps({"split": "group", "leakage": 0.0, "synthetic": False}, "the license forbids it")
    assert stamp == "NOT FOR REDISTRIBUTION: the license forbids it; no picture of a tile leaves the store"
