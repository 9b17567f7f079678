"""Siblings on both sides of the split."""

import pytest

from raypipe.data.leakage import LeakageError, find_leaking_groups, measure_leakage, require_disjoint

LEAKY = [("q", "train"), ("q", "test"), ("p", "test"), ("p", "train"), ("p", "test"), ("r", "test"), ("s", "train")]
APART = [("p", "train"), ("p", "train"), ("q", "test")]


def test_groups_on_both_sides_are_listed_in_order():
    assert find_leaking_groups(LEAKY) == ["p", "q"]
    assert find_leaking_groups(APART) == []
    assert find_leaking_groups([(None, "train"), (None, "test")]) == []


def test_a_leak_is_refused_with_examples():
    require_disjoint(iter(APART))
    with pytest.raises(LeakageError, match=r"2 groups have tiles in both train and test \(p, q\); use split 'group'"):
        require_disjoint(iter(LEAKY))


def test_unknown_groups_are_not_taken_for_disjoint():
    with pytest.raises(
        LeakageError, match="1 of 4 tiles have no group, so a leak between train and test cannot be excluded"
    ):
        require_disjoint([*APART, (None, "test")])


@pytest.mark.parametrize(
    ("tiles", "share"),
    [(LEAKY, 3 / 4), (APART, 0.0), ([*LEAKY, (None, "train")], None), ([("p", "train")], 0.0), ([], 0.0)],
)
def test_the_share_of_test_tiles_with_a_sibling_in_train(tiles, share):
    assert measure_leakage(iter(tiles)) == share
