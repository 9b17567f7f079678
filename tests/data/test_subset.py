from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.data.subset import choose_subset, find_uncovered_labels

TILES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=80)
OF_ONE_CLASS = TILES.map(lambda pairs: [(label, f"{label}:{group}") for label, group in pairs])
MIXED = TILES.map(lambda pairs: [(label, str(group)) for label, group in pairs])


@settings(deadline=None)
@given(OF_ONE_CLASS | MIXED, st.integers(0, 100), st.integers(0, 3))
def test_a_larger_count_takes_the_same_tiles_and_more(tiles: list[tuple[int, str]], count: int, seed: int) -> None:
    labels, groups = [label for label, _ in tiles], [group for _, group in tiles]
    chosen = choose_subset(labels, groups, count, seed)
    assert len(chosen) == min(count, len(tiles))
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(choose_subset(labels, groups, count + 5, seed))


@settings(deadline=None)
@given(OF_ONE_CLASS | MIXED, st.integers(1, 100), st.integers(0, 3))
def test_classes_are_balanced_as_far_as_their_tiles_reach(tiles: list[tuple[int, str]], count: int, seed: int) -> None:
    labels, groups = [label for label, _ in tiles], [group for _, group in tiles]
    chosen = choose_subset(labels, groups, count, seed)
    taken, there = Counter(labels[place] for place in chosen), Counter(labels)
    unfinished = [taken[label] for label in there if taken[label] < there[label]]
    assert all(most - least <= 1 for most in taken.values() for least in unfinished)
    if count >= len(there):
        assert find_uncovered_labels(labels, chosen, 3) == [label for label in range(3) if label not in there]


@settings(deadline=None)
@given(OF_ONE_CLASS, st.integers(1, 100), st.integers(0, 3))
def test_no_group_gives_a_second_tile_before_each_of_its_class_gave_one(
    tiles: list[tuple[int, str]], count: int, seed: int
) -> None:
    labels, groups = [label for label, _ in tiles], [group for _, group in tiles]
    taken, there = Counter(groups[place] for place in choose_subset(labels, groups, count, seed)), Counter(groups)
    for group in there:
        siblings = [other for other in there if other[0] == group[0]]
        if taken[group] < there[group]:
            assert max(taken[other] for other in siblings) <= taken[group] + 1


def test_tiles_are_of_as_many_groups_as_there_are() -> None:
    labels = [place // 60 for place in range(300)]  # 5 classes, 10 groups of 6 each
    groups = [str(place // 6) for place in range(300)]
    assert len({groups[place] for place in choose_subset(labels, groups, 50, seed=0)}) == 50
    counts = Counter(groups[place] for place in choose_subset(labels, groups, 100, seed=0))
    assert set(counts.values()) == {2}


def test_a_group_of_two_classes_gives_one_tile_before_the_second() -> None:
    """Use patients with benign and malignant tiles: each of 6 patients gives a tile, and the classes stay balanced."""
    labels, groups = [0, 1] * 6, [str(place // 2) for place in range(12)]
    chosen = choose_subset(labels, groups, 6, seed=1)
    assert len({groups[place] for place in chosen}) == 6
    assert Counter(labels[place] for place in chosen) == {0: 3, 1: 3}


def test_a_rare_class_is_not_left_out() -> None:
    labels = [0] * 90 + [1] * 10
    chosen = choose_subset(labels, [str(place) for place in range(100)], 20, seed=0)
    assert Counter(labels[place] for place in chosen) == {0: 10, 1: 10}


def test_classes_without_a_tile_are_named() -> None:
    labels = [0, 0, 1, 3]
    assert find_uncovered_labels(labels, choose_subset(labels, ["a", "b", "c", "d"], 2, seed=0), 4) == [2, 3]
