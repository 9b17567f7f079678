from hypothesis import given
from hypothesis import strategies as st

from raypipe.training.examples import Examples


def examples(count: int, groups: int) -> Examples:
    ids = tuple(f"{i:03d}" for i in range(count))
    return Examples(
        ids, tuple(i.encode() for i in ids), tuple(range(count)), tuple(f"g{i % groups}" for i in range(count))
    )


@given(count=st.integers(1, 60), workers=st.integers(1, 7), seed=st.integers(0, 5))
def test_workers_shares_are_equal_disjoint_and_lose_less_than_one_tile_a_worker(
    count: int, workers: int, seed: int
) -> None:
    shares = [examples(count, 3).share(rank, workers, seed).sample_ids for rank in range(workers)]
    assert len({len(share) for share in shares}) == 1
    used = [name for share in shares for name in share]
    assert len(used) == len(set(used))
    assert count - len(used) < workers


@given(
    tiles=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=80),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 5),
)
def test_held_out_groups_are_whole_and_no_class_loses_its_last_tile(
    tiles: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    """Check tiles, each a label and the number of its group; groups may span labels."""
    ids = tuple(map(str, range(len(tiles))))
    labels, groups = (tuple(column) for column in zip(*tiles, strict=True))
    every = Examples(ids, tuple(i.encode() for i in ids), labels, tuple(map(str, groups)))
    kept, held = every.hold_out(fraction, seed)
    assert len(kept) + len(held) == len(tiles)
    assert not set(kept.groups) & set(held.groups)
    assert set(kept.labels) == set(labels)
    assert every.hold_out(fraction, seed) == (kept, held)


@given(counts=st.lists(st.integers(1, 12), min_size=2, max_size=4), size=st.integers(1, 5), seed=st.integers(0, 5))
def test_about_a_tenth_of_each_class_is_held_out_and_a_group_at_least(counts: list[int], size: int, seed: int) -> None:
    """Use classes with equal groups: the closest number of groups is held out, at least one if there are several."""
    cells = [(label, f"{label}-{group}") for label, count in enumerate(counts) for group in range(count)] * size
    ids = tuple(map(str, range(len(cells))))
    labels, groups = (tuple(column) for column in zip(*cells, strict=True))
    _, held = Examples(ids, tuple(i.encode() for i in ids), labels, groups).hold_out(0.1, seed)
    for label, count in enumerate(counts):
        found = len({group for own, group in zip(held.labels, held.groups, strict=True) if own == label})
        assert found == (0 if count == 1 else 1)


def test_nothing_is_held_out_where_nothing_is_asked_for() -> None:
    every = examples(6, 3)
    kept, held = every.hold_out(0.0, 0)
    assert kept == every
    assert len(held) == 0


def test_columns_stay_together() -> None:
    joined = examples(3, 1).take([2, 0]).join(examples(2, 2).take([1]))
    assert joined.sample_ids == ("002", "000", "001")
    assert joined.images == (b"002", b"000", b"001")
    assert joined.labels == (2, 0, 1)
    assert joined.groups == ("g0", "g0", "g1")
