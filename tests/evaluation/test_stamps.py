import pytest

from raypipe.evaluation.run import stamps


@pytest.mark.parametrize(
    ("split", "leakage", "synthetic", "expected"),
    [
        ("group", 0.0, False, []),
        ("paper", 0.987, False, ["LEAKY: 98.7%"]),
        ("paper", None, False, ["LEAKY: random split; siblings are unknown"]),
        ("paper", 0.5, True, ["LEAKY: 50.0%", "SYNTHETIC"]),
    ],
)
def test_stamps(split: str, leakage: float | None, synthetic: bool, expected: list[str]) -> None:
    found = stamps({"split": split, "leakage": leakage, "synthetic": synthetic})
    assert len(found) == len(expected)
    assert all(stamp.startswith(start) for stamp, start in zip(found, expected, strict=True))
