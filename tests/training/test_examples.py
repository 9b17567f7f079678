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


@given(count=st.integers(4, 60), groups=st.integers(2, 12), fraction=st.floats(0.05, 0.95), seed=st.integers(0, 5))
def test_held_out_groups_are_whole_and_neither_side_is_empty(
    count: int, groups: int, fraction: float, seed: int
) -> None:
    all_of_them = examples(count, min(groups, count))
    kept, held = (all_of_them.take(side) for side in all_of_them.split_by_group(fraction, seed))
    assert len(kept) + len(held) == count
    assert kept.labels
    assert held.labels
    assert not set(kept.groups) & set(held.groups)


def test_columns_stay_together() -> None:
    joined = examples(3, 1).take([2, 0]).joined(examples(2, 2).take([1]))
    assert joined.sample_ids == ("002", "000", "001")
    assert joined.images == (b"002", b"000", b"001")
    assert joined.labels == (2, 0, 1)
    assert joined.groups == ("g0", "g0", "g1")
