from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from raypipe.data.subset import choose_subset

GROUPED = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=80).map(
    lambda pairs: [(label, f"{label}:{group}") for label, group in pairs]
)


@given(GROUPED, st.integers(0, 100), st.integers(0, 3))
def test_whole_groups_evenly_over_labels(tiles: list[tuple[int, str]], count: int, seed: int) -> None:
    labels, groups = [label for label, _ in tiles], [group for _, group in tiles]
    chosen = choose_subset(labels, groups, count, seed)
    assert len(chosen) == min(count, len(tiles))
    assert chosen == sorted(set(chosen))
    taken, there = Counter(groups[i] for i in chosen), Counter(groups)
    assert sum(taken[group] < there[group] for group in taken) <= 1  # the last one is cut
    assert set(chosen) <= set(choose_subset(labels, groups, count + 5, seed))


def test_a_rare_class_is_not_left_out() -> None:
    labels = [0] * 90 + [1] * 10
    chosen = choose_subset(labels, [str(i) for i in range(100)], 20, seed=0)
    assert Counter(labels[i] for i in chosen) == {0: 10, 1: 10}
